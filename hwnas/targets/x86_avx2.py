"""x86 with AVX2: Haswell and later."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="x86_64",
    triple="x86_64-linux-gnu",
    cpu="haswell",
    features="sse2 sse3 ssse3 sse4.1 sse4.2 popcnt avx avx2 fma f16c bmi bmi2 lzcnt movbe",
)
