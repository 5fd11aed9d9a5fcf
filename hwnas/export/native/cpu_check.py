"""The C of `<name>_supported`: does this CPU have every instruction set that the library was compiled for?

The library itself must not use any of them before it has asked, so its C is compiled for the architecture's baseline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwnas.kernels.target import Target

# Asking costs some hundred cycles, and thousands in a virtual machine, so the answer is kept. Two threads that ask at
# once write the same answer.
_KEPT = """
int {name}_supported(void)
{{
    static int known; /* 0: not asked yet, 1: yes, 2: no */
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!answer) {{
        answer = instructions_exist() ? 1 : 2;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }}
    return answer == 1;
}}
"""

_ALWAYS = """
int {name}_supported(void) {{ return 1; }} /* {reason} */
"""

_CPUID = """
static void cpuid(unsigned leaf, unsigned subleaf, unsigned *registers)
{
    __asm__ volatile("cpuid"
                     : "=a"(registers[0]), "=b"(registers[1]), "=c"(registers[2]), "=d"(registers[3])
                     : "a"(leaf), "c"(subleaf));
}

static int has(unsigned leaf, unsigned subleaf, int which, unsigned bits)
{
    unsigned registers[4];
    cpuid(leaf & 0x80000000u, 0, registers);
    if (registers[0] < leaf)
        return 0;
    cpuid(leaf, subleaf, registers);
    return (registers[which] & bits) == bits;
}

static int saved(unsigned state) /* does the operating system keep these registers over a task switch? */
{
    unsigned low, high;
    if (!has(1, 0, 2, 1u << 27))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & state) == state;
}
"""

_AUXILIARY = """
extern unsigned long getauxval(unsigned long kind); /* of every Linux C library */

static int has(unsigned long kind, unsigned long bits) { return (getauxval(kind) & bits) == bits; }
"""

_YMM, _ZMM = 0x6, 0xE6  # XCR0: SSE and AVX state; and the mask registers and both halves of ZMM


def cpu_check(machine: Target, name: str) -> str:
    """C that defines `int <name>_supported(void)`."""
    if machine.arch in ("wasm32", "thumb"):
        reasons = {"wasm32": "a module with unknown instructions does not load", "thumb": "linked for one chip"}
        return _ALWAYS.format(name=name, reason=reasons[machine.arch])
    helpers, conditions = _x86(machine) if machine.arch == "x86_64" else _linux(machine)
    if not conditions:
        return _ALWAYS.format(name=name, reason="every CPU of the architecture has what it uses")
    lines = "".join(f"\n        && {condition}" for condition in conditions)
    return f"{helpers}\nstatic int instructions_exist(void)\n{{\n    return 1{lines};\n}}\n" + _KEPT.format(name=name)


def _x86(machine: Target) -> tuple[str, list[str]]:
    from hwnas.kernels.instructions import X86

    wanted = sorted(machine.features & X86.keys())
    places: dict[tuple[int, int, int], list[str]] = {}
    for feature in wanted:
        places.setdefault(X86[feature][1:4], []).append(feature)
    state = _ZMM if "avx512f" in wanted else _YMM if "avx" in wanted else 0
    conditions = [f"saved(0x{state:x})"] if state else []
    for (leaf, subleaf, register), features in sorted(places.items()):
        bits = sum(1 << X86[feature][4] for feature in features)
        conditions.append(f"has(0x{leaf:x}u, {subleaf}, {register}, 0x{bits:x}u) /* {' '.join(features)} */")
    helpers = _CPUID if state else _CPUID[: _CPUID.index("\nstatic int saved")]
    return helpers, conditions


def _linux(machine: Target) -> tuple[str, list[str]]:
    from hwnas.kernels.instructions import HWCAPS

    known = HWCAPS.get(machine.arch, {})
    places: dict[int, list[str]] = {}
    for feature in sorted(machine.features & known.keys()):
        places.setdefault(known[feature][1], []).append(feature)
    conditions = []
    for key, features in sorted(places.items()):
        bits = sum(1 << known[feature][2] for feature in features)
        conditions.append(f"has({key}, 0x{bits:x}ul) /* {' '.join(features)} */")
    return _AUXILIARY, conditions
