"""Every compiler target and instruction set, one a file: what each must say, and that a file is all that one takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas import find
from hwnas.errors import HwnasError
from hwnas.export.native.link import toolchain
from hwnas.kernels.c_compiler import has_zig
from hwnas.kernels.machine import Architecture
from hwnas.kernels.target import (
    architecture,
    architecture_of,
    compiler_targets,
    known_targets,
    parse_target,
    portable_target,
    runnable_targets,
)
from hwnas.testing import LawBroken, check, contract

TARGETS, ARCHITECTURES = sorted(compiler_targets()), find.names("architectures")


test_every_target = contract("target", *TARGETS)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_instruction_set_says_how_its_programs_are_linked_and_run(name: str) -> None:
    shared = architecture(name)
    assert isinstance(shared, Architecture) and find.summary("architectures", name)
    assert shared.linker and shared.kernels_linker and (shared.emulator or shared.board_emulator)
    assert shared.alignment in (16, 32, 64) and shared.pointer_bits in (32, 64)
    assert bool(shared.asks) == bool(shared.instructions)
    assert all(architecture_of(prefix) == name for prefix in shared.prefixes)
    assert not (shared.hosted and shared.module)


@pytest.mark.skipif(not has_zig(), reason="ziglang is not installed")
@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_a_compiler(name: str) -> None:
    tools = toolchain(parse_target(name))
    assert tools.hosted == parse_target(name).architecture.hosted or tools.native


def test_code_for_a_less_capable_machine_runs_on_a_more_capable_one() -> None:
    assert runnable_targets("x86-avx512") == {"x86", "x86-avx2", "x86-ssse3", "x86-avx512"}
    assert runnable_targets("aarch64") == {"aarch64"} and runnable_targets("host") == set()
    assert portable_target("x86_64") == "x86" and portable_target("aarch64") is None


PLUGIN = '''"""AMD Zen 4, for a test."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="x86_64",
    triple="x86_64-linux-gnu",
    cpu="haswell",
    features="sse2 sse3 ssse3 sse4.1 sse4.2 popcnt avx avx2 fma f16c bmi bmi2 lzcnt movbe",
)
'''


def test_a_file_in_a_package_adds_a_target_to_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "boards_of_mine" / "targets").mkdir(parents=True)
    (tmp_path / "boards_of_mine" / "__init__.py").touch()
    (tmp_path / "boards_of_mine" / "targets" / "my_pc.py").write_text(PLUGIN)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}", find.ENVIRONMENT: "boards_of_mine"}
    run = [sys.executable, "-m", "hwnas", "devices", "targets"]
    listed = subprocess.run(run, capture_output=True, text=True, env=environment, check=True, cwd=tmp_path).stdout
    assert re.search(r"my-pc +AMD Zen 4, for a test\.", listed) and "cortex-m7" in listed
    asked = "from hwnas.kernels.target import parse_target as p; print(p('my-pc').vector_bits, p('my-pc').has_fma)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["256", "True"]
    assert "my-pc" not in known_targets()
    with pytest.raises(HwnasError, match="unknown target"):
        parse_target("my-pc")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("x86_64-linux-gnu", "aarch64-linux-gnu", "a triple of x86_64, got aarch64-linux-gnu"),
        ("sse2 sse3 ssse3", "sse3 ssse3", "all that x86_64 needs, lacking"),
        ("haswell", "core2", "-mcpu and -mattr have the features of its file, but for"),
        (" movbe", " avx512f", "the features of its file, got .* 'movbe'"),
        ("a test.", "a test", "ends in a stop"),
    ],
)
def test_the_suite_finds_what_breaks_its_law(before: str, after: str, told: str, outside: Path) -> None:
    (outside / "targets").mkdir()
    assert before in PLUGIN
    (outside / "targets" / "my_pc.py").write_text(PLUGIN.replace(before, after))
    with pytest.raises(LawBroken, match=told):
        check("target", "my-pc")
