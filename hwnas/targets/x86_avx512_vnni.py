"""x86 with AVX-512, VNNI and vector popcounts: Ice Lake server and later."""

from hwnas.kernels.machine import CompilerTarget

# -prefer-256-bit: Intel's tuning would otherwise split every 512-bit vector in two.
TARGET = CompilerTarget(
    architecture="x86_64",
    triple="x86_64-linux-gnu",
    cpu="icelake-server",
    features="sse2 sse3 ssse3 sse4.1 sse4.2 popcnt avx avx2 fma f16c bmi bmi2 lzcnt movbe avx512f avx512bw "
    "avx512cd avx512dq avx512vl avx512ifma avx512vbmi avx512vbmi2 avx512vnni avx512bitalg avx512vpopcntdq "
    "gfni vpclmulqdq",
    attributes=("-prefer-256-bit",),
)
