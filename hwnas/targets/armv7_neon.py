"""32-bit Arm with NEON: Cortex-A7."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="arm",
    triple="armv7a-linux-gnueabihf",
    cpu="cortex-a7",
    features="neon vfp3 vfp4 hwdiv hwdiv-arm",
)
