"""WebAssembly with 128-bit vectors."""

from hwnas.kernels.machine import CompilerTarget

TARGET = CompilerTarget(
    architecture="wasm32",
    triple="wasm32-unknown-unknown",
    cpu="generic",
    features="simd128 bulk-memory",
    attributes=("+simd128", "+bulk-memory"),
)
