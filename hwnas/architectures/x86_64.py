"""64-bit x86 under Linux: SSE2 everywhere, AVX2 and AVX-512 where CPUID says so."""

from hwnas.kernels.machine import Architecture, Instruction

# LLVM's name: (name in /proc/cpuinfo, leaf, subleaf, register (0 EAX .. 3 EDX), bit), of Intel SDM vol. 2 and AMD APM
# vol. 3. Only what LLVM may use in a kernel: a machine without it would end in an illegal instruction.
_CPUID = {
    "sse3": ("pni", 1, 0, 2, 0),
    "ssse3": ("ssse3", 1, 0, 2, 9),
    "fma": ("fma", 1, 0, 2, 12),
    "sse4.1": ("sse4_1", 1, 0, 2, 19),
    "sse4.2": ("sse4_2", 1, 0, 2, 20),
    "movbe": ("movbe", 1, 0, 2, 22),
    "popcnt": ("popcnt", 1, 0, 2, 23),
    "avx": ("avx", 1, 0, 2, 28),
    "f16c": ("f16c", 1, 0, 2, 29),
    "bmi": ("bmi1", 7, 0, 1, 3),
    "avx2": ("avx2", 7, 0, 1, 5),
    "bmi2": ("bmi2", 7, 0, 1, 8),
    "avx512f": ("avx512f", 7, 0, 1, 16),
    "avx512dq": ("avx512dq", 7, 0, 1, 17),
    "avx512ifma": ("avx512ifma", 7, 0, 1, 21),
    "avx512cd": ("avx512cd", 7, 0, 1, 28),
    "avx512bw": ("avx512bw", 7, 0, 1, 30),
    "avx512vl": ("avx512vl", 7, 0, 1, 31),
    "avx512vbmi": ("avx512vbmi", 7, 0, 2, 1),
    "avx512vbmi2": ("avx512_vbmi2", 7, 0, 2, 6),
    "gfni": ("gfni", 7, 0, 2, 8),
    "vpclmulqdq": ("vpclmulqdq", 7, 0, 2, 10),
    "avx512vnni": ("avx512_vnni", 7, 0, 2, 11),
    "avx512bitalg": ("avx512_bitalg", 7, 0, 2, 12),
    "avx512vpopcntdq": ("avx512_vpopcntdq", 7, 0, 2, 14),
    "avx512fp16": ("avx512_fp16", 7, 0, 3, 23),
    "avxvnni": ("avx_vnni", 7, 1, 0, 4),
    "avx512bf16": ("avx512_bf16", 7, 1, 0, 5),
    "avxifma": ("avx_ifma", 7, 1, 0, 23),
    "avxvnniint8": ("avx_vnni_int8", 7, 1, 3, 4),
    "lzcnt": ("abm", 0x80000001, 0, 2, 5),
    "xop": ("xop", 0x80000001, 0, 2, 11),
    "fma4": ("fma4", 0x80000001, 0, 2, 16),
    "tbm": ("tbm", 0x80000001, 0, 2, 21),
}

ARCHITECTURE = Architecture(
    triple=r"x86_64(-\w+)?-linux(-gnu|-musl)?",
    prefixes=("x86_64",),
    hosts=("x86_64", "amd64"),
    pointer_bits=64,
    vector_bits=128,
    fused=("fma",),
    needed=("64bit", "sse2"),
    needed_in_words="a 64-bit CPU",
    linker="x86_64-linux-musl",
    emulator=("qemu-x86_64", "-cpu", "max"),
    kernels_linker=("-target", "x86_64-linux-musl"),
    kernels_emulator=("qemu-x86_64", "-cpu", "max"),
    asks="cpuid",
    instructions={name: Instruction(linux, tuple(place), bit) for name, (linux, *place, bit) in _CPUID.items()},
)
