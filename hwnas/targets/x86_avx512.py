"""x86 with AVX-512: Skylake server and later."""

from hwnas.kernels.machine import CompilerTarget

# -prefer-256-bit: Intel's tuning would otherwise split every 512-bit vector in two.
TARGET = CompilerTarget(
    architecture="x86_64",
    triple="x86_64-linux-gnu",
    cpu="skylake-avx512",
    features="sse2 sse3 ssse3 sse4.1 sse4.2 popcnt avx avx2 fma f16c bmi bmi2 lzcnt movbe avx512f avx512bw "
    "avx512cd avx512dq avx512vl",
    attributes=("-prefer-256-bit",),
)
