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
    shared = machine.architecture
    ways = {"cpuid": _by_cpuid, "auxiliary vector": _by_auxiliary_vector}
    helpers, conditions = ways[shared.asks](machine) if shared.asks else ("", [])
    if not conditions:
        reason = "every CPU of the architecture has what it uses" if shared.asks else shared.never_asks
        return _ALWAYS.format(name=name, reason=reason)
    lines = "".join(f"\n        && {condition}" for condition in conditions)
    return f"{helpers}\nstatic int instructions_exist(void)\n{{\n    return 1{lines};\n}}\n" + _KEPT.format(name=name)


def _places(machine: Target) -> dict[tuple[int, ...], list[str]]:
    """Where to ask for what the library uses: the places of the architecture with the features that each tells of."""
    known = machine.architecture.instructions
    places: dict[tuple[int, ...], list[str]] = {}
    for feature in sorted(machine.features & known.keys()):
        places.setdefault(known[feature].place, []).append(feature)
    return dict(sorted(places.items()))


def _bits(machine: Target, features: list[str]) -> int:
    return sum(1 << machine.architecture.instructions[feature].bit for feature in features)


def _by_cpuid(machine: Target) -> tuple[str, list[str]]:
    places = _places(machine)
    wanted = {feature for features in places.values() for feature in features}
    state = _ZMM if "avx512f" in wanted else _YMM if "avx" in wanted else 0
    conditions = [f"saved(0x{state:x})"] if state else []
    for (leaf, subleaf, register), features in places.items():
        bits = _bits(machine, features)
        conditions.append(f"has(0x{leaf:x}u, {subleaf}, {register}, 0x{bits:x}u) /* {' '.join(features)} */")
    helpers = _CPUID if state else _CPUID[: _CPUID.index("\nstatic int saved")]
    return helpers, conditions


def _by_auxiliary_vector(machine: Target) -> tuple[str, list[str]]:
    conditions = [
        f"has({key}, 0x{_bits(machine, features):x}ul) /* {' '.join(features)} */"
        for (key,), features in _places(machine).items()
    ]
    return _AUXILIARY, conditions
