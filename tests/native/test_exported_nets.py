"""Nets of the project's own spaces, as its exporter writes them: the native library equals ONNX Runtime's integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas.export.native import compile_onnx, load_native
from hwnas.export.onnx import network_model
from hwnas.space import SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.spaces.resnet_binary import resnet_binary
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
