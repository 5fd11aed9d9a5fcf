"""Target strings: aliases, LLVM-style text, and what the kernels ask of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.errors import HwnasError
from hwnas.kernels import target_check
from hwnas.kernels.instructions import checked_features
from hwnas.kernels.target import known_targets, parse_target


@pytest.mark.parametrize("name", known_targets())
def test_every_alias_is_a_target_that_llvm_knows(name: str) -> None:
    target = parse_target(name)
    assert target.vector_bits in (32, 128, 256, 512) and target.max_registers >= 12
    assert target.tvm().kind.name == "llvm"


@pytest.mark.parametrize("name", known_targets()[1:])
def test_the_features_of_an_alias_are_llvms(name: str) -> None:
    """The table in the code names only what LLVM's own CPU model has, and all that a library checks before it runs."""
    from tvm.target import codegen

    target = parse_target(name)
    found = {str(feature) for feature in codegen.llvm_get_cpu_features(target.tvm())}
    assert target.features <= found
    assert target.features >= found & checked_features(target.arch)


def test_the_widest_vectors_of_each_family_are_seen() -> None:
    vnni, avx512, avx2, ssse3 = (
        parse_target(name) for name in ("x86-avx512-vnni", "x86-avx512", "x86-avx2", "x86-ssse3")
    )
    assert (vnni.has_vnni, vnni.has_vpopcntdq, vnni.vector_bits, vnni.max_registers) == (True, True, 512, 32)
    assert (avx512.has_vnni, avx512.has_avx512bw, avx512.vector_bits) == (False, True, 512)
    assert (avx2.has_avx2, avx2.has_avx512bw, avx2.vector_bits, avx2.max_registers) == (True, False, 256, 16)
    assert (ssse3.has_ssse3, ssse3.has_avx2, ssse3.vector_bits) == (True, False, 128)
    assert parse_target("aarch64-dotprod").has_dotprod and not parse_target("aarch64").has_dotprod
    assert parse_target("aarch64-i8mm").has_i8mm and parse_target("riscv64-v").has_rvv
    assert parse_target("cortex-m4").vector_bits == 32 and parse_target("cortex-m4").pointer_bits == 32


def test_an_llvm_style_string_is_taken_apart() -> None:
    target = parse_target("x86_64-linux-gnu -mcpu=znver4 -mattr=+avxvnni,-avx512vpopcntdq")
    assert (target.arch, target.cpu, target.triple) == ("x86_64", "znver4", "x86_64-linux-gnu")
    assert target.has("avxvnni") and target.has_vnni and not target.has_vpopcntdq


def test_an_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(HwnasError) as caught:
        parse_target("x86-avx3")
    assert "x86-avx2" in caught.value.nearest
    assert "cortex-m4" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x86_64-linux-gnu -mcpu=zenver9", "no CPU"),
        ("x86_64-linux-gnu -mcpu=haswell -mattr=+avx1024", "no feature 'avx1024'"),
        ("x86_64-linux-gnu -mcpu=haswell -mattr=-64bit", "a 64-bit CPU"),
        ("x86_64-linux-gnu -mattr=+soft-float", "LLVM ERROR"),
        ("riscv64-linux-gnu -mattr=+m,+a,+f,+d,+c,+zfinx", "extensions are incompatible"),
        ("x86_64-linux-gnu -mattr=+", r"\+ or -"),
        ("x86_64-linux-gnu -mcpu=", "option"),
        ("x86_64-linux-gnu -mcpu=a;b", "option"),
        ("x86_64-linux-gnux32", "nothing here links"),
        ("x86_64-apple-darwin", "nothing here links"),
        ("aarch64_be-linux-gnu", "nothing here links"),
        ("thumbv6m-none-eabi -mcpu=cortex-m0", "float unit"),
        ("thumbv7m-none-eabi -mcpu=cortex-m3", "float unit"),
        ("thumbv7em-none-eabihf -mcpu=cortex-m3", "it lacks dsp, vfp2sp"),
        ("thumbv7em-none-eabihf -mcpu=cortex-m4 -mattr=-fpregs", "lacks vfp2sp"),
        ("thumbv7em-none-eabihf -mcpu=cortex-m4 -mfloat-abi=soft", "must be hard"),
        ("riscv64-linux-gnu -mattr=+m,+a", "rv64gc"),
        ("riscv64-linux-gnu -mabi=lp64", "must be lp64d"),
        ("riscv32-linux-gnu -mcpu=generic-rv32", "unknown target"),
        ("x86_64-linux-gnu\n-O3", "option"),
        ("\0", "unknown target"),
        ("x86_64-linux-gnu -O3", "option"),
        ("x86_64-linux-gnu -mattr=avx2", r"\+ or -"),
        ("sparc-sun-solaris", "unknown target"),
        ("", "unknown target"),
    ],
)
def test_a_malformed_target_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        parse_target(text)


def test_switching_a_feature_off_takes_what_needs_it_along() -> None:
    """The kernels once believed in AVX512BW where AVX512F was off, and LLVM ended the process."""
    target = parse_target("x86_64-linux-gnu -mcpu=skylake-avx512 -mattr=-avx512f")
    assert not target.has_avx512bw and target.has_avx2 and target.vector_bits == 256


def test_switching_a_feature_on_takes_what_it_implies_along() -> None:
    target = parse_target("riscv64-linux-gnu -mcpu=generic-rv64 -mattr=+m,+a,+f,+d,+c,+v")
    assert target.has_rvv and target.has("zvl128b") and target.abi == "lp64d"


def test_what_llvm_said_of_a_target_is_kept_for_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parse_target.cache_clear()
    text = "x86_64-linux-gnu -mcpu=znver2"
    first = parse_target(text)
    kept = list((tmp_path / "hwnas" / "targets").iterdir())
    assert len(kept) == 1
    monkeypatch.setattr(target_check, "_ask", None)  # asking again would fail
    parse_target.cache_clear()
    assert parse_target(text) == first
    kept[0].write_text("{torn")
    monkeypatch.undo()
    parse_target.cache_clear()
    assert parse_target(text) == first


def test_parsing_an_alias_loads_no_compiler() -> None:
    code = (
        "import sys; from hwnas.kernels import target; target.parse_target('cortex-m4'); sys.exit('tvm' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
