"""64-bit RISC-V, rv64gc."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="riscv64",
    triple="riscv64-linux-gnu",
    cpu="generic-rv64",
    features="i m a f d c",
    attributes=("+m", "+a", "+f", "+d", "+c"),
)
