"""The same nets on other machines, emulated: bit-equal integers and 1-bit streams, floats within rounding.

Linking needs ziglang; its first link for a machine builds that machine's C library (about a minute, then cached).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwnas.errors import HwnasError
from hwnas.export.native import compile_onnx, load_native
from hwnas.export.native.emulate import missing_emulator, run_artifact
from tests.native import nets
from tests.native.test_whole_nets import EXACT, FLOAT, TOLERANCE

TARGETS = (
    "aarch64",
    "aarch64-dotprod",
    "aarch64-i8mm",
    "armv7-neon",
    "riscv64",
    "riscv64-v",
    "wasm32-simd128",
    "cortex-m4",
    "cortex-m7",
)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("net", [*EXACT, *FLOAT])
def test_an_emulated_machine_gives_the_outputs_of_onnx_runtime(
    net: Callable[[], onnx.ModelProto], target: str, tmp_path: Path, kernel_cache: Path
) -> None:
    _skip_unless_emulated(target)
    model = net()
    batch = nets.images(model, 16)
    expected = nets.run_onnx(model, batch)
    compile_onnx(model, target, tmp_path / "out", cache=kernel_cache)
    found = run_artifact(tmp_path / "out", batch)
    if net in EXACT:
        assert np.array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.slow
def test_a_whole_test_set_is_bit_equal_under_qemu_aarch64(tmp_path: Path, kernel_cache: Path) -> None:
    _skip_unless_emulated("aarch64-dotprod")
    model = nets.int8_net(size=32, width=24)
    batch = nets.images(model, 500)
    compile_onnx(model, "aarch64-dotprod", tmp_path / "out", cache=kernel_cache)
    assert np.array_equal(run_artifact(tmp_path / "out", batch), nets.run_onnx(model, batch))


@pytest.mark.slow
def test_a_microcontroller_artefact_says_its_flash_and_ram(tmp_path: Path, kernel_cache: Path) -> None:
    _skip_unless_emulated("cortex-m4")
    made = compile_onnx(nets.int8_net(), "cortex-m4", tmp_path / "out", cache=kernel_cache)
    print(f"flash {made.manifest['flash_bytes']} B, RAM {made.manifest['ram_bytes']} B")
    assert made.constant_bytes < made.manifest["flash_bytes"] < 256 * 1024
    assert made.arena_bytes < made.manifest["ram_bytes"] < 64 * 1024
    assert {"model.h", "libmodel.a", "example.c", "bench.elf"} == set(made.files)


@pytest.mark.slow
def test_another_machines_library_does_not_load_here(tmp_path: Path, kernel_cache: Path) -> None:
    _skip_unless_emulated("wasm32-simd128")
    compile_onnx(nets.int8_net(), "wasm32-simd128", tmp_path / "out", cache=kernel_cache)
    with pytest.raises(HwnasError, match="has no shared library"):
        load_native(tmp_path / "out")


def _skip_unless_emulated(target: str) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no ziglang: pip install hwnas[cross]")
    missing = missing_emulator(target)
    if missing is not None:
        pytest.skip(f"no {missing} on PATH")
