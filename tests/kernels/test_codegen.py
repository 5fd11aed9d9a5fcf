"""Code generation: bare C symbols for every target, no runtime, no contraction where it is forbidden."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.kernels.builder import KernelBuilder, const, rounded
from hwnas.kernels.codegen import assembly, compile_object
from hwnas.kernels.host_library import HostLibrary
from hwnas.kernels.memory import aligned_copy, aligned_empty
from hwnas.kernels.target import known_targets, parse_target

FUSED = re.compile(r"\b(v?fn?m(add|sub)\w*|fml[as]|vfm[as]\S*|vml[as]\S*)\b")
MAGIC = {"wasm32": b"\0asm"}


def scale_add(size: int, lanes: int, fused: bool = False) -> object:
    """o = x * s + x, in vectors and a scalar tail."""
    k = KernelBuilder(f"scale_add_{size}_{lanes}")
    x, s, o = (k.pointer(name, "float32", size) for name in "xso")

    def step(offset: object, width: int) -> None:
        value = k.let(x.load(offset, width))
        product = value * s.load(offset, width)
        o.store(offset, (product if fused else rounded(product)) + value)

    with k.loop(size // lanes) as i:
        step(i * lanes, lanes)
    for tail in range(size - size % lanes, size):
        step(tail, 1)
    return k.finish()


def undefined_symbols(data: bytes) -> Iterable[str]:
    """Names of the runtime in an object, wherever they stand."""
    return [name.decode() for name in re.findall(rb"(?:TVM|__tvm)\w+", data) if name != b"TVMMod"]


@pytest.mark.parametrize("name", known_targets()[1:])
def test_an_object_has_the_bare_symbol_and_nothing_of_a_runtime(name: str) -> None:
    target = parse_target(name)
    data = compile_object([scale_add(40, max(1, target.vector_bits // 32))], target)
    assert data.startswith(MAGIC.get(target.arch, b"\x7fELF"))
    assert b"scale_add_40_" in data
    assert undefined_symbols(data) == []


@pytest.mark.parametrize("name", known_targets()[1:])
def test_a_rounded_product_is_never_fused_with_a_sum(name: str) -> None:
    target = parse_target(name)
    lanes = max(1, target.vector_bits // 32)
    assert not FUSED.search(assembly([scale_add(40, lanes)], target))


def test_a_plain_product_and_sum_are_fused_where_the_machine_can() -> None:
    assert FUSED.search(assembly([scale_add(40, 8, fused=True)], parse_target("x86-avx2")))


def test_a_kernel_runs_through_ctypes() -> None:
    rng = np.random.default_rng(0)
    x, s = (aligned_copy(rng.normal(size=37).astype(np.float32)) for _ in range(2))
    out = aligned_empty((37,), np.float32)
    HostLibrary([scale_add(37, 4)], parse_target("host")).call("scale_add_37_4", x, s, out)
    np.testing.assert_array_equal(out, x * s + x)


def test_local_arrays_of_any_size_stay_on_the_stack() -> None:
    k = KernelBuilder("reversed_copy")
    x, o = k.pointer("x", "int32", 1024), k.pointer("o", "int32", 1024)
    tile = k.stack("int32", 1024)
    with k.loop(1024) as i:
        tile.store(i, x.load(i) + const(1, "int32"))
    with k.loop(1024) as i:
        o.store(i, tile.load(1023 - i))
    x_values, out = aligned_copy(np.arange(1024, dtype=np.int32)), aligned_empty((1024,), np.int32)
    HostLibrary([k.finish()], parse_target("host")).call("reversed_copy", x_values, out)
    np.testing.assert_array_equal(out, x_values[::-1] + 1)


def test_equal_kernels_are_compiled_once() -> None:
    target = parse_target("x86-avx2")
    assert compile_object([scale_add(24, 8)], target) is compile_object([scale_add(24, 8)], target)
    assert compile_object([scale_add(24, 8)], target) != compile_object([scale_add(24, 8)], parse_target("aarch64"))


def test_two_kernels_of_one_name_are_refused() -> None:
    with pytest.raises(HwnasError, match="share the symbol"):
        compile_object([scale_add(8, 4), scale_add(8, 4)], parse_target("aarch64"))
    with pytest.raises(HwnasError, match="at least one"):
        compile_object([], parse_target("aarch64"))


def test_unaligned_arguments_are_refused_before_the_call() -> None:
    library = HostLibrary([scale_add(8, 4)], parse_target("host"))
    odd = aligned_empty((9,), np.float32)[1:]
    with pytest.raises(HwnasError, match="aligned"):
        library.call("scale_add_8_4", odd, odd, odd)
