"""A small builder of TIR functions: pointers in, vector loads and stores, registers, loops; python unrolls and tiles.

Every kernel is written as a python function that emits statements. Registers are one-vector local buffers, which
LLVM promotes to machine registers; a value that is used more than once must be bound with `let`, because TIR
expressions are trees and a shared sub-expression would be evaluated (and visited by every pass) again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import PointerType, PrimType

# A TIR expression (tvm.ir.Expr) or, where an offset is meant, a python int.
Value = Any


def kernel_name(spec: object, tile: object = None) -> str:
    """The C identifier of a kernel: another for every specification and tile."""
    digest = hashlib.sha1(f"{spec!r}|{tile!r}".encode()).hexdigest()[:16]
    return f"{type(spec).__name__.lower()}_{digest}"


def lanes_of(value: Value) -> int:
    """The number of vector lanes of an expression (1 for a scalar)."""
    _, _, lanes = str(value.ty.dtype).partition("x")
    return int(lanes) if lanes else 1


def element_of(value: Value) -> str:
    """The element type of an expression, such as `int32`."""
    return str(value.ty.dtype).partition("x")[0]


def vector_type(dtype: str, lanes: int) -> str:
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def const(value: float, dtype: str, lanes: int = 1) -> Value:
    """A constant, broadcast to `lanes`."""
    scalar = tirx.const(value, dtype)
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def broadcast(value: Value, lanes: int) -> Value:
    """A scalar in every lane."""
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def cast(value: Value, dtype: str) -> Value:
    """A conversion of every lane to `dtype`."""
    return tirx.Cast(vector_type(dtype, lanes_of(value)), value)


def reinterpret(value: Value, dtype: str) -> Value:
    """The same bits as the full type `dtype`, such as `uint8x64`."""
    return tirx.reinterpret(dtype, value)


def intrinsic(dtype: str, name: str, *operands: Value) -> Value:
    """A call of the LLVM intrinsic `name` without side effects; `dtype` is the full result type."""
    return tirx.call_llvm_pure_intrin(dtype, name, *operands)


def rounded(value: Value) -> Value:
    """`value` rounded to its type here: keeps a product from being contracted with a sum into an FMA."""
    return intrinsic(str(value.ty.dtype), "llvm.arithmetic.fence", value)


def shuffle(values: Sequence[Value], lanes: Sequence[int]) -> Value:
    """The chosen lanes of several equal vectors laid end to end."""
    return tirx.Shuffle(list(values), [tirx.const(lane, "int32") for lane in lanes])


def mask_bits(condition: Value) -> Value:
    """A vector of booleans (a power of two of them) as an unsigned integer, lane 0 in bit 0 (one kmov or movmsk)."""
    lanes = lanes_of(condition)
    if lanes == 1:
        return tirx.Select(condition, tirx.const(1, "uint8"), tirx.const(0, "uint8"))
    bits = reinterpret(tirx.Cast(f"uint1x{lanes}", condition), f"uint{lanes}")
    return bits if lanes >= 8 else tirx.Cast("uint8", bits)


@dataclass(frozen=True)
class Memory:
    """A flat array of `dtype`: a pointer parameter or a small stack array. Offsets are in elements."""

    builder: KernelBuilder
    buffer: Value
    dtype: str

    def load(self, offset: Value, lanes: int = 1) -> Value:
        """`lanes` consecutive elements from `offset`."""
        return tirx.BufferLoad(self.buffer, [_index(offset, lanes)])

    def load_strided(self, offset: Value, stride: int, lanes: int) -> Value:
        """`lanes` elements, `stride` apart (a gather: slow)."""
        return tirx.BufferLoad(self.buffer, [tirx.Ramp(_scalar(offset), stride, lanes)])

    def store(self, offset: Value, value: Value) -> None:
        """Store every lane of `value` from `offset` on."""
        self.builder.emit(tirx.BufferStore(self.buffer, value, [_index(offset, lanes_of(value))]))


@dataclass(frozen=True)
class Register:
    """One vector (or scalar) variable that LLVM keeps in a machine register."""

    memory: Memory
    lanes: int

    @property
    def value(self) -> Value:
        return self.memory.load(0, self.lanes)

    def set(self, value: Value) -> None:
        self.memory.store(0, value)


class KernelBuilder:
    """Collects one function's parameters and statements."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._parameters: list[Value] = []
        self._blocks: list[list[Value]] = [[]]
        self._names = 0

    def emit(self, statement: Value) -> None:
        self._blocks[-1].append(statement)

    def pointer(self, name: str, dtype: str, elements: int, alignment: int = -1) -> Memory:
        """The next pointer parameter, to `elements` values of `dtype`."""
        parameter = tirx.Var(name, PointerType(PrimType(dtype)))
        self._parameters.append(parameter)
        buffer = tirx.decl_buffer((elements,), dtype, name=name, data=parameter, layout=None, data_alignment=alignment)
        self.emit(tirx.DeclBuffer(buffer, data=parameter))
        return Memory(self, buffer, dtype)

    def stack(self, dtype: str, elements: int) -> Memory:
        """A small uninitialised array on the stack."""
        buffer = tirx.decl_buffer((elements,), dtype, name=self._name("tile"), scope="local", layout=None)
        self.emit(tirx.AllocBuffer(buffer))
        return Memory(self, buffer, dtype)

    def register(self, initial: Value) -> Register:
        """A new variable of the type of `initial`, holding it."""
        lanes = lanes_of(initial)
        register = Register(self.stack(element_of(initial), lanes), lanes)
        register.set(initial)
        return register

    def let(self, value: Value) -> Value:
        """A name for `value`, evaluated once, here."""
        variable = tirx.Var(self._name("value"), str(value.ty.dtype))
        self.emit(tirx.Bind(variable, value))
        return variable

    @contextmanager
    def loop(self, extent: Value, unroll: bool = False) -> Iterator[Value]:
        """A counted loop (of a number or an expression); an extent of 1 or `unroll` leaves no loop behind."""
        variable = tirx.Var(self._name("i"), "int32")
        self._blocks.append([])
        yield variable
        body = _sequence(self._blocks.pop())
        once = isinstance(extent, int) and extent == 1
        kind = tirx.ForKind.UNROLLED if unroll or once else tirx.ForKind.SERIAL
        self.emit(tirx.For(variable, 0, extent, kind, body))

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Statements that run only where `condition` holds."""
        self._blocks.append([])
        yield
        self.emit(tirx.IfThenElse(condition, _sequence(self._blocks.pop()), None))

    def either(self, condition: Value, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """`then` or `otherwise`, each of which emits statements."""
        branches = []
        for branch in (then, otherwise):
            self._blocks.append([])
            branch()
            branches.append(_sequence(self._blocks.pop()))
        self.emit(tirx.IfThenElse(condition, *branches))

    def finish(self) -> tirx.PrimFunc:
        """The finished function; its pointers do not alias (or accumulators would be stored at every step)."""
        function = tirx.PrimFunc(self._parameters, _sequence(self._blocks[0]))
        return function.with_attr("global_symbol", self.symbol).with_attr("tirx.noalias", True)

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"


def pointers(function: tirx.PrimFunc) -> list[tuple[str, int]]:
    """(element type, elements) of every pointer that a finished function takes, in order."""
    declared = {}
    for statement in function.body.seq if isinstance(function.body, tirx.SeqStmt) else [function.body]:
        if isinstance(statement, tirx.DeclBuffer):
            declared[statement.data.name] = statement.buffer
    buffers = [declared[parameter.name] for parameter in function.params]
    return [(str(buffer.dtype), int(buffer.shape[0])) for buffer in buffers]


def _scalar(offset: Value) -> Value:
    return tirx.const(offset, "int32") if isinstance(offset, int) else offset


def _index(offset: Value, lanes: int) -> Value:
    return _scalar(offset) if lanes == 1 else tirx.Ramp(_scalar(offset), 1, lanes)


def _sequence(statements: Sequence[Value]) -> Value:
    if not statements:
        return tirx.Evaluate(tirx.const(0, "int32"))
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))
