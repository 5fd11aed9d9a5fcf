"""64-bit Arm with 8-bit matrix products: Armv8.6-A."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="aarch64",
    triple="aarch64-linux-gnu",
    cpu="cortex-a76",
    features="neon fp-armv8 dotprod fullfp16 rdm i8mm",
    attributes=("+i8mm",),
)
