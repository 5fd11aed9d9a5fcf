"""64-bit RISC-V with vectors of at least 128 bits, and bit manipulation."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="riscv64",
    triple="riscv64-linux-gnu",
    cpu="generic-rv64",
    features="i m a f d c zba zbb v zvl128b",
    attributes=("+m", "+a", "+f", "+d", "+c", "+zba", "+zbb", "+v"),
)
