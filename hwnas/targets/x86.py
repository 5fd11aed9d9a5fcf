"""any x86 with AVX2, FMA and BMI2 (level x86-64-v3): Intel's processors since 2013, AMD's since 2015."""

from hwnas.kernels.machine import CompilerTarget

# What a library for strangers' machines is built for; the library itself says where it is missing.
TARGET = CompilerTarget(
    architecture="x86_64",
    triple="x86_64-linux-gnu",
    cpu="x86-64-v3",
    features="sse2 sse3 ssse3 sse4.1 sse4.2 popcnt avx avx2 fma f16c bmi bmi2 lzcnt movbe",
    portable=True,
)
