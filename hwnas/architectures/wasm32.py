"""WebAssembly: a module that imports nothing, run by node or a browser."""

from hwnas.kernels.machine import Architecture

ARCHITECTURE = Architecture(
    triple=r"wasm32(-\w+)?-(unknown|wasi)",
    prefixes=("wasm32",),
    tells_vector_bits=True,
    fused=(),
    linker="wasm32-freestanding",
    hosted=False,
    module=True,
    emulator=("node",),
    kernels_linker=("-target", "wasm32-wasi", "-msimd128"),
    kernels_emulator=("node", "--no-warnings"),
    never_asks="a module with unknown instructions does not load",
)
