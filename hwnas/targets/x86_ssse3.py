"""x86 with SSSE3: Core 2 and later."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="x86_64",
    triple="x86_64-linux-gnu",
    cpu="core2",
    features="sse2 sse3 ssse3",
)
