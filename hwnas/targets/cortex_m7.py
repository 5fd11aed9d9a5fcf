"""Cortex-M7: DSP instructions, floats."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="thumb",
    triple="thumbv7em-none-eabihf",
    cpu="cortex-m7",
    features="dsp fp-armv8d16",
    board="mps2-an500",
)
