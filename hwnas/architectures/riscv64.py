"""64-bit RISC-V under Linux, rv64gc: vectors where the CPU says so (asm/hwcap.h)."""

from hwnas.kernels.machine import Architecture, Instruction

_QEMU = ("qemu-riscv64", "-cpu", "rv64,v=true,vlen=128,zba=true,zbb=true")  # vectors no longer than the targets promise

ARCHITECTURE = Architecture(
    triple=r"riscv64(-\w+)?-linux(-gnu|-musl)?",
    prefixes=("riscv64",),
    hosts=("riscv64",),
    pointer_bits=64,
    vector_registers=32,
    abi="lp64d",
    needed=("m", "a", "f", "d", "c"),
    needed_in_words="rv64gc",
    linker="riscv64-linux-musl",
    emulator=_QEMU,
    kernels_linker=("-target", "riscv64-linux-musl"),
    kernels_emulator=_QEMU,
    asks="auxiliary vector",
    # extensions of several letters are not in the auxiliary vector
    instructions={letter: Instruction(letter, (16,), ord(letter) - ord("a")) for letter in "macfdv"},
)
