"""Compilers and linkers: the host's own for the host, ziglang (a wheel) for every other machine."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import HwnasError
from hwnas.kernels.c_compiler import ZIG, has_zig, system_compiler

if TYPE_CHECKING:
    from hwnas.kernels.target import Target

#: how C is compiled where there is no operating system
BARE = ("-ffreestanding", "-fno-pic", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")


@dataclass(frozen=True)
class Toolchain:
    """How C becomes code for one target.

    `hosted`: there is an operating system, so .so and bench exist. `native`: the code runs on this machine.
    `embeds`: the C compiler knows #embed (otherwise the assembler's .incbin brings the constants in).
    """

    compiler: tuple[str, ...]
    archiver: tuple[str, ...]
    hosted: bool
    native: bool
    embeds: bool
    name: str


def runs_here(target: Target) -> bool:
    """True where the target's instruction set is this machine's (its features may still be missing)."""
    from hwnas.kernels.target import host_architecture

    return sys.platform == "linux" and host_architecture(platform.machine()) == target.arch


def toolchain(target: Target) -> Toolchain:
    """The compiler for the target, or an error that says how to get one."""
    native, shared = runs_here(target), target.architecture
    compiler, archiver = system_compiler(), shutil.which("ar")
    if native and compiler is not None and archiver is not None:
        return Toolchain((compiler,), (archiver,), True, True, False, Path(compiler).name)
    if not has_zig():
        what = "no C compiler (cc, gcc, clang) is on PATH" if native else f"linking for {target.text} needs ziglang"
        raise HwnasError(what, hint="pip install hwnas[cross]")
    if not shared.linker:
        raise HwnasError(f"no linker is known for {target.arch}", hint="its file in hwnas/architectures names none")
    flags = ["-target", shared.linker]
    if shared.linker_cpu is not None:
        cpu = "generic" if target.cpu == "generic" else target.cpu.replace("-", "_")
        changed = "".join(a[0] + a[1:].replace("-", "_").replace(".", "_") for a in target.attributes)
        flags += [f"-mcpu={cpu}{shared.linker_cpu if cpu == 'generic' else ''}{changed}"]
    return Toolchain((*ZIG, "cc", *flags), (*ZIG, "ar"), shared.hosted, native, shared.module, "zig cc")


def run(command: Sequence[str], folder: Path) -> None:
    """Runs one tool in `folder`; its complaints become the error."""
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    _check(command, finished.returncode, finished.stderr)


def run_together(commands: Sequence[Sequence[str]], folder: Path) -> None:
    """Runs independent tools side by side."""
    started = [
        subprocess.Popen(c, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for c in commands
    ]
    ended = [process.communicate()[1] for process in started]
    for command, process, complaint in zip(commands, started, ended, strict=True):
        _check(command, process.returncode, complaint)


def _check(command: Sequence[str], code: int, complaint: str) -> None:
    if code:
        lines = [line for line in complaint.splitlines() if line.strip()]
        raise HwnasError(f"{' '.join(command[:4])} ... failed with {code}: {' / '.join(lines[-4:])}")


def build(tools: Toolchain, folder: Path, name: str, objects: Sequence[Path]) -> tuple[str, ...]:
    """Compiles `<name>.c` and the constants, archives and links; returns the names of the files made."""
    constants = f"{name}_constants" + (".c" if tools.embeds else ".S")
    # the kernels' symbols stay inside, so that several models can be loaded together
    (folder / "exports.map").write_text(f"{{ global: {name}_*; local: *; }};\n")
    # Position-independent code takes the weights' address from .got, which a microcontroller's linker script puts in
    # RAM where its start-up code copies nothing: every weight would be read as zero. A firmware has one address, and
    # no unwinder.
    place = ("-fPIC",) if tools.hosted else BARE
    common = ("-O2", *place, "-ffunction-sections", "-fdata-sections")
    embed = ("-Wno-c23-extensions",) if tools.embeds else ()
    compiles = [
        [*tools.compiler, *common, "-c", f"{name}.c", "-o", f"{name}.o"],
        [*tools.compiler, *common, *embed, "-c", constants, "-o", f"{name}_constants.o"],
    ]
    if tools.hosted:
        compiles.append([*tools.compiler, "-O2", "-c", "bench.c", "-o", "bench.o"])
    run_together(compiles, folder)
    parts = [f"{name}.o", f"{name}_constants.o", *map(str, objects)]
    run([*tools.archiver, "rcs", f"lib{name}.a", *parts], folder)
    made = [f"lib{name}.a"]
    if tools.hosted:
        return (*made, *_link_hosted(tools, folder, name))
    if tools.embeds:
        return (*made, *_link_wasm(tools, folder, name, parts))
    # the start-up code is compiled without vector instructions in mind; the library brings its own
    script = ("-Wl,--gc-sections", "-Wl,-T,board.ld")
    run([*tools.compiler, "-Os", *BARE, *script, "-o", "bench.elf", "startup.c", f"lib{name}.a"], folder)
    return (*made, "bench.elf")


def _link_hosted(tools: Toolchain, folder: Path, name: str) -> list[str]:
    """The shared library and the bench."""
    common = ("-Wl,--gc-sections", "-Wl,-z,noexecstack")
    shared = ("-shared", "-nostdlib", "-Wl,--version-script=exports.map", *common)
    links = [
        [*tools.compiler, *shared, "-o", f"lib{name}.so", f"{name}.o", f"lib{name}.a"],
        [*tools.compiler, "-static", *common, "-o", "bench", "bench.o", f"lib{name}.a"],
    ]
    run_together(links, folder)
    return [f"lib{name}.so", "bench"]


def _link_wasm(tools: Toolchain, folder: Path, name: str, parts: Sequence[str]) -> list[str]:
    """A module that exports the entry points and its memory and imports nothing."""
    exports = ["run", "run_sized", "arena_bytes", "input_bytes", "output_bytes", "alignment", "step_count", "step_run"]
    flags = [f"-Wl,--export={name}_{export}" for export in exports]
    run(
        [
            *tools.compiler,
            "-O2",
            "-nostdlib",
            "-o",
            f"{name}.wasm",
            *parts,
            "-Wl,--no-entry",
            "-Wl,--export=__heap_base",
            "-Wl,--gc-sections",
            *flags,
        ],
        folder,
    )
    return [f"{name}.wasm"]
