"""64-bit Arm under Linux: NEON everywhere, dot products and matrix products where the CPU says so (asm/hwcap.h)."""

from hwnas.kernels.machine import Architecture, Instruction

_HWCAP, _HWCAP2 = (16,), (26,)  # keys of the auxiliary vector, linux/auxvec.h

ARCHITECTURE = Architecture(
    triple=r"(aarch64|arm64)(-\w+)?-linux(-gnu|-musl)?",
    prefixes=("aarch64", "arm64"),
    hosts=("aarch64", "arm64"),
    pointer_bits=64,
    vector_registers=32,
    needed=("neon", "fp-armv8"),
    needed_in_words="NEON",
    linker="aarch64-linux-musl",
    emulator=("qemu-aarch64", "-cpu", "max"),
    kernels_linker=("-target", "aarch64-linux-musl"),
    kernels_emulator=("qemu-aarch64", "-cpu", "max"),
    asks="auxiliary vector",
    instructions={
        "neon": Instruction("asimd", _HWCAP, 1),
        "fullfp16": Instruction("asimdhp", _HWCAP, 10),
        "rdm": Instruction("asimdrdm", _HWCAP, 12),
        "dotprod": Instruction("asimddp", _HWCAP, 20),
        "sve": Instruction("sve", _HWCAP, 22),
        "sve2": Instruction("sve2", _HWCAP2, 1),
        "i8mm": Instruction("i8mm", _HWCAP2, 13),
        "bf16": Instruction("bf16", _HWCAP2, 14),
    },
)
