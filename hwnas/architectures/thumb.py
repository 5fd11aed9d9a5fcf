"""Arm microcontrollers without an operating system (Cortex-M4F, M7, M33F, M55): DSP instructions and a float unit."""

from hwnas.kernels.machine import Architecture

ARCHITECTURE = Architecture(
    triple=r"thumbv(7em|8m\.main|8\.1m\.main)-none-eabihf",
    prefixes=("thumb",),
    alignment=16,
    vector_registers=12,
    tells_vector_bits=True,
    fused=("vfp4d16sp", "fp-armv8d16"),
    float_abi="hard",
    needed=("dsp", "vfp2sp"),
    needed_in_words="DSP instructions and a float unit (Cortex-M4F, M7, M33F, M55): requantising is float32",
    linker="thumb-freestanding-eabihf",
    linker_cpu="+v7a+vfp3d16",
    hosted=False,
    board_emulator="qemu-system-arm",
    # Bare kernels are linked into an Arm program: qemu's `max` core runs both instruction sets, Thumb-2 DSP and VFPv4
    # included.
    kernels_linker=("-target", "arm-linux-musleabihf"),
    kernels_emulator=("qemu-arm", "-cpu", "max"),
    never_asks="linked for one chip",
)
