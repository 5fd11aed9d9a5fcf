"""64-bit Arm with NEON: Cortex-A53, Raspberry Pi 3 and 4."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="aarch64",
    triple="aarch64-linux-gnu",
    cpu="cortex-a53",
    features="neon fp-armv8",
)
