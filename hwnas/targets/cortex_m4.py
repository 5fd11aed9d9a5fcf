"""Cortex-M4F: DSP instructions, single-precision floats."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="thumb",
    triple="thumbv7em-none-eabihf",
    cpu="cortex-m4",
    features="dsp vfp4d16sp",
    board="mps2-an386",
)
