"""64-bit Arm with dot products: Cortex-A76, Raspberry Pi 5."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="aarch64",
    triple="aarch64-linux-gnu",
    cpu="cortex-a76",
    features="neon fp-armv8 dotprod fullfp16 rdm",
)
