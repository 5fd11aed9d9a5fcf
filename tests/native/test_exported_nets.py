"""Nets of the project's own spaces, as its exporter writes them: the native library equals ONNX Runtime's integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas.export.native import compile_onnx, load_native
from hwnas.export.onnx import network_model, to_onnx
from hwnas.export.quantise import calibrate, fold, places
from hwnas.space import SearchSpace
from hwnas.spaces.auto_deeplab import CELL, auto_deeplab, cell_name
from hwnas.spaces.mobile import mobile
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import Net
from tests.native import nets

INT8 = ("int8",)


def spaces() -> dict[str, SearchSpace]:
    return {
        "mobile": mobile(
            3, 10, resolutions=(24,), widths=[[16], [24]], depths=[1, 2], strides=[2, 1], precisions=INT8,
            activations=("relu", "hswish"),
        ),
        "resnet_binary": resnet_binary(
            3, 10, resolutions=(20,), stem_width=16, widths=[[16], [40]], depths=[1, 2], strides=[1, 2], precisions=INT8
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["mobile", "resnet_binary"])
def test_a_net_of_the_space_is_bit_equal_and_its_memory_at_the_bound(
    name: str, tmp_path: Path, kernel_cache: Path
) -> None:
    space = spaces()[name]
    choices = {choice.name: choice.options[-1] for choice in space.choices}
    choices |= {choice.name: "int8" for choice in space.choices if choice.name.endswith("precision")}
    model = network_model(space.lower(space.architecture(choices)))
    batch = nets.images(model, 16)
    made = compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)
    assert np.array_equal(load_native(tmp_path / "out")(batch), nets.run_onnx(model, batch))
    assert made.manifest["arena_overhead"] <= 0.05


def test_a_library_that_gives_an_image_is_bit_equal_however_often_it_resizes(
    tmp_path: Path, kernel_cache: Path
) -> None:
    """Codes are resized as real numbers and rounded once; many of these sums lie half-way between two codes."""
    space = auto_deeplab(3, 5, (24, 20), layers=3, strides=(2, 4, 8), width=8, precisions=INT8)
    path = {f"stride.{i + 1}": stride for i, stride in enumerate((4, 8, 2))}
    cell = dict(zip((cell_name(*edge) for edge in CELL), ("conv_3x3", "avg_pool_3x3", "skip"), strict=True))
    network = space.lower({**path, **cell, "precision": "int8"})
    batch = np.random.default_rng(0).standard_normal((16, 3, 24, 20)).astype(np.float32)
    net = calibrate(fold(network, Net(network, 0).eval().arrays()), batch, weight_bits=7)
    assert sum(place.layer.kind == "resize" for place in places(network)) == 3 and net.is_exact
    compile_onnx(to_onnx(net), "host", tmp_path / "out", cache=kernel_cache)
    found = load_native(tmp_path / "out")(batch)
    assert found.shape == (16, 5, 24, 20)
    np.testing.assert_array_equal(found, net(batch))
