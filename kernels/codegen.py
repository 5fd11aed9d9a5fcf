"""TIR functions to one relocatable object with bare C symbols: no TVM runtime, no packed calling convention."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

from hwnas.errors import HwnasError
from hwnas.kernels.target import Target

# LLVM code generation in TVM uses one global context state per process: one compilation at a time.
_COMPILING = threading.Lock()
_CACHE: OrderedDict[str, bytes] = OrderedDict()
_CACHE_ENTRIES = 4096


def compile_object(functions: Sequence[Any], target: Target) -> bytes:
    """One object file that defines a C function `void symbol(pointers...)` for each PrimFunc.

    Results are cached in the process by the functions' text and the target. Safe to call from threads (compilations
    run one at a time); do not fork a process that has compiled: TVM's thread pool and LLVM's state do not survive it
    (start workers with `spawn`).
    """
    module = _module_of(functions)
    key = _key(module, target)
    with _COMPILING:
        if key not in _CACHE:
            _CACHE[key] = _object_bytes(_generate(module, target))
            if len(_CACHE) > _CACHE_ENTRIES:
                _CACHE.popitem(last=False)
        _CACHE.move_to_end(key)
        return _CACHE[key]


def assembly(functions: Sequence[Any], target: Target, form: str = "asm") -> str:
    """The target's assembly (or, with form="ll", LLVM IR) of the same code that `compile_object` returns."""
    with _COMPILING:
        return str(_generate(_module_of(functions), target).inspect_source(form))


def _module_of(functions: Sequence[Any]) -> tvm.IRModule:
    by_symbol: dict[str, Any] = {}
    for function in functions:
        symbol = str(function.attrs["global_symbol"])
        if symbol in by_symbol:
            raise HwnasError(f"two kernels of one object share the symbol {symbol!r}")
        by_symbol[symbol] = function
    if not by_symbol:
        raise HwnasError("an object needs at least one kernel")
    return tvm.IRModule(by_symbol)


def _key(module: tvm.IRModule, target: Target) -> str:
    # The symbols (and with them the specs and tiles) are part of the key, so a 64-bit hash of the code suffices.
    text = f"{target!r} {sorted(v.name_hint for v in module.get_global_vars())} {tvm_ffi.structural_hash(module)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _generate(module: tvm.IRModule, target: Target) -> Any:
    passes = [
        tirx.transform.BindTarget(target.tvm()),
        tirx.transform.StmtSimplify(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        # No MakePackedAPI (the C interface stays bare) and no LowerTVMBuiltin (it would turn local arrays of more
        # than 1 KiB into calls of the runtime's allocator; the code generator puts them on the stack instead).
        tirx.transform.LowerIntrin(),
    ]
    for transform in passes:
        module = transform(module)
    return tvm.get_global_func("target.build.llvm")(module, target.tvm())


def _object_bytes(generated: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.o"
        generated.write_to_file(str(path), "o")
        return path.read_bytes()
