"""Networks for images that are not square: the exported file and the native library give the reference's outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hwnas.export.onnx import save, to_onnx
from hwnas.export.quantise import calibrate, fold
from hwnas.export.verify import tolerance_for, verify
from hwnas.space import SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import Net

RNG = np.random.default_rng(0)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "precision"), [(mobile, "int8"), (resnet_binary, "int8"), (resnet_binary, "w1a1")])
def test_a_wide_image_s_network_is_exported_to_both_engines_as_it_is(
    make: Callable[..., SearchSpace], precision: str, tmp_path: Path
) -> None:
    from hwnas.export.native import compile_onnx, load_native

    space = make(3, 4, (12,), 16, 2, ((16,), (32,)), (2,), (1, 2), (3,), image_size=(12, 22))
    values = {
        choice.name: precision if precision in choice.options else choice.options[-1]
        for choice in space.choices
        if choice.name.endswith("precision")
    }
    net = Net(space.lower(space.architecture({**space.smallest(), **values})))
    shape = net.network.input_shape
    assert shape == (3, 12, 22)
    seen = RNG.standard_normal((32, *shape), dtype=np.float32)
    quantised = calibrate(fold(net.network, net.arrays()), seen, weight_bits=7)  # exact on x86 without VNNI too
    images = RNG.standard_normal((8, *shape), dtype=np.float32)
    save(to_onnx(quantised), tmp_path / "net.onnx")
    result = verify(tmp_path / "net.onnx", images, None, quantised(images), tolerance_for(quantised))
    assert result.ok, result
    compile_onnx(tmp_path / "net.onnx", "host", tmp_path / "native")
    result = verify(tmp_path / "native", images, None, quantised(images), tolerance_for(quantised))
    assert result.ok, result
    assert load_native(tmp_path / "native")(images).reshape(8, -1).shape == (8, 4)
