"""Sound in a library: samples go in, here and on a microcontroller, and the scores of the reference come out."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from hwnas.export.native import compile_onnx, load_native
from hwnas.export.native.emulate import run_artifact
from hwnas.export.onnx import to_onnx
from tests.sound import agree, net_of, tones


def test_a_library_for_this_machine_takes_samples(tmp_path: Path, kernel_cache: Path) -> None:
    (quantised, _), clips = net_of("int8"), tones(16, seed=1)
    compile_onnx(to_onnx(quantised), "host", tmp_path / "out", cache=kernel_cache)
    agree(load_native(tmp_path / "out")(clips), quantised(clips))


@pytest.mark.slow
def test_a_microcontrollers_library_takes_samples_in_the_emulator(tmp_path: Path, kernel_cache: Path) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no ziglang: pip install hwnas[cross]")
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("no qemu-system-arm on PATH")
    (quantised, _), clips = net_of("int8"), tones(4, seed=1)
    compile_onnx(to_onnx(quantised), "cortex-m4", tmp_path / "out", cache=kernel_cache)
    agree(run_artifact(tmp_path / "out", clips), quantised(clips))
