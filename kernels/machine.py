"""What is known of the machines that kernels are compiled for: an instruction set, and a compiler target of one.

`hwnas/architectures/<name>.py` holds one `Architecture` and `hwnas/targets/<name>.py` one `CompilerTarget` each; code
asks these fields, never a name. This file knows no machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Instruction:
    """Where a CPU says that it has what LLVM calls by some name: the name in /proc/cpuinfo, and a bit of a register.

    `place` is (leaf, subleaf, register) of CPUID, or (key,) of Linux's auxiliary vector.
    """

    linux: str
    place: tuple[int, ...]
    bit: int


@dataclass(frozen=True)
class Architecture:
    """One instruction set, its calling convention, and what links and runs its programs.

    `triple` is a pattern of those that something here links for: another ABI or object format would end in a linker's
    complaint. `hosts` are what `platform.machine()` says on machines of it.
    """

    triple: str
    prefixes: tuple[str, ...]  # how its triples begin
    hosts: tuple[str, ...] = ()
    pointer_bits: int = 32
    alignment: int = 64  # of every buffer a library is given, bytes
    vector_bits: int = 32  # of the vectors that every CPU of it has; 32: none
    vector_registers: int = 16
    tells_vector_bits: bool = False  # TVM must be told them: otherwise it guesses, with a warning a build
    fused: tuple[str, ...] | None = None  # any of these features brings a fused multiply-add; None: every CPU has it
    sums_bytes: tuple[str, ...] | None = None  # any of these sums products of bytes in 32 bits; None: every CPU does
    float_abi: str = ""  # the only one that is linked; empty: there is no choice
    abi: str = ""
    needed: tuple[str, ...] = ()  # what a library's C, its C library and the calling convention need
    needed_in_words: str = ""
    # -- how C becomes a program
    linker: str = ""  # ziglang's name of the machine, for what ships; musl, static, where there is a system
    linker_cpu: str | None = None  # cores differ in what plain C compiles to: features added to `generic`; None: no
    hosted: bool = True  # there is an operating system, so a shared library and a bench exist
    module: bool = False  # what links is one module of WebAssembly
    # -- how a program runs where this is not the machine
    emulator: tuple[str, ...] = ()  # the command that it is put behind
    board_emulator: str = ""  # the emulator of whole boards, where nothing is hosted; a target names its board
    kernels_linker: tuple[str, ...] = ()  # a program of bare kernels on files (hwnas.kernels.cross_library)
    kernels_emulator: tuple[str, ...] = ()
    # -- what a CPU may lack
    asks: str = ""  # how a library asks its CPU: "cpuid", "auxiliary vector"; empty: it need not
    never_asks: str = "every CPU of the architecture has what it uses"  # why it need not
    instructions: Mapping[str, Instruction] = field(default_factory=dict)  # LLVM's name of a feature -> where to ask


@dataclass(frozen=True)
class CompilerTarget:
    """A machine to compile for: an LLVM triple, a CPU and what that can do.

    `features` are what kernels and the library's own check look at, for this CPU with `attributes` (a test holds them
    to what LLVM says); spelled out so that parsing needs no LLVM. A machine is probed as the target with the most
    features of those that it all has; `portable` ones are for strangers' machines, and no machine is probed as one.
    """

    architecture: str
    triple: str
    cpu: str
    features: str  # LLVM's names, blanks between
    attributes: tuple[str, ...] = ()
    portable: bool = False
    board: str = ""  # what the architecture's `board_emulator` calls a board with this CPU
