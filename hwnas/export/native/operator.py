"""What a native operator's file defines, and where the compiler finds one: docs/native-operators.md tells it in full.

`operators/<name>.py`, in hwnas or in a package outside, defines ONNX, KINDS, FUSIONS, EXAMPLES, `read` and `bind`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hwnas import find
from hwnas.errors import HwnasError

if TYPE_CHECKING:
    from onnx import NodeProto

    from hwnas.export.native.ir import Step, Value
    from hwnas.export.native.lower import KernelCall, Lowering
    from hwnas.export.native.reader import Reader

AXIS = "export.native.operators"
Halo = tuple[int, int, int, int]


@dataclass(frozen=True)
class Form:
    """One way to use an ONNX operator, for docs/operators.md and the random tests.

    `reads` is how it runs between DequantizeLinear and QuantizeLinear: "integer" by a kernel over 8-bit codes, "float"
    between a dequantisation and a quantisation, "refused" with an error, "view" without any step.
    """

    name: str
    text: str
    reads: str = "float"

    @property
    def supported(self) -> bool:
        return self.reads != "refused"


def refused(name: str, text: str) -> Form:
    """A form that is an error."""
    return Form(name, text, "refused")


@dataclass(frozen=True)
class Kind:
    """What the compiler must know of a kind of step, besides its kernel.

    `exact`: the same bits whoever computes it: integers, signs, and moves of whole values. `thresholds`: it turns a
    float's last bit into a whole code or sign. `edge`: "entry" or "exit" of a step that a block has at its ends only
    because it was compiled alone.
    """

    exact: bool = False
    thresholds: bool = False
    edge: str = ""


@dataclass(frozen=True)
class IntegerFusion:
    """DequantizeLinear -> a node of this file (-> Relu, Clip) -> QuantizeLinear as integer steps.

    `rewrite(reader, node)` emits them and returns None, or says why it cannot and changes nothing: the node is then
    read between a dequantisation and a quantisation, as the model says it. A check and its rewrite are one function,
    because the check already computes what the rewrite needs (a window, a packed bias).
    """

    rewrite: Callable[[Reader, NodeProto], str | None]


@dataclass(frozen=True)
class StepFusion:
    """Two steps as one kernel, the second a reader of what the first gives; floats keep their order of operations.

    `rewrite(step, user, alone)` gives the joined step or the reason why not; `alone` is whether nothing else reads the
    first step's result. The joined step stands where the second was, or the first (`place`). Fusions of a lower `turn`
    come first.
    """

    pattern: tuple[str, str]
    rewrite: Callable[[Step, Step, bool], Step | str]
    turn: int = 0
    place: str = "second"


Fusion = IntegerFusion | StepFusion


@dataclass(frozen=True)
class Constant:
    """A constant input of an example: normal numbers of `shape` (int8 codes where quantised), or `values` as given."""

    shape: tuple[int | str, ...] = ()
    values: np.ndarray | None = None
    positive: bool = False


@dataclass(frozen=True)
class Whole:
    """A whole-number input of an example (tokens, places): int64 of `shape` from 0 to `below` - 1."""

    shape: tuple[int | str, ...]
    below: int


#: an input of an example: the shape of a float activation, or one of these; names in shapes are sizes drawn at random
Given = tuple[int | str, ...] | Constant | Whole


@dataclass(frozen=True)
class Example:
    """One ONNX node that the contract suite compiles and compares with ONNX Runtime, with sizes drawn at random."""

    operator: str
    inputs: tuple[Given, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    #: also between DequantizeLinear and QuantizeLinear, where an integer kernel must take it
    quantised: bool = False
    #: activations are drawn above 0
    positive: bool = False
    #: float results may differ by this share of the largest
    tolerance: float = 1e-5
    outputs: int = 1


class NativeOperator(Protocol):
    """A module `operators/<name>.py`. Law: for every example, the compiled node gives what ONNX Runtime gives."""

    #: ONNX operator ("domain::Name" outside ONNX's own) -> the forms that are read or refused
    ONNX: Mapping[str, tuple[Form, ...]]
    #: the kinds of steps that `bind` takes; those of other files may be emitted too
    KINDS: Mapping[str, Kind]
    FUSIONS: tuple[Fusion, ...]
    EXAMPLES: tuple[Example, ...]

    def read(self, reader: Reader, node: NodeProto) -> None:
        """Emits the node's steps and says what its output is; raises `refuse(node, reason)` for what it cannot."""

    def bind(self, lowering: Lowering, step: Step) -> KernelCall:
        """The kernel call of a step of one of KINDS."""


@dataclass(frozen=True)
class Needs:
    """What the buffer of a step's first input must have for its kernel: a halo, and a multiple of stored channels."""

    halo: Halo = (0, 0, 0, 0)
    channels_multiple: int = 1


@dataclass(frozen=True)
class Operators:
    """Every native operator that is found."""

    modules: tuple[ModuleType, ...]
    of_node: Mapping[str, ModuleType]
    of_step: Mapping[str, ModuleType]
    step_fusions: tuple[StepFusion, ...]

    def kind(self, name: str) -> Kind:
        """What is known of a kind of step."""
        found: Kind = self.of_step[name].KINDS[name]
        return found

    def needs(self, step: Step, value: Value) -> Needs:
        """What `step` needs of its first input's buffer."""
        ask = vars(self.of_step[step.kind]).get("needs")
        found: Needs = Needs() if ask is None else ask(step, value)
        return found


def operators() -> Operators:
    """All of hwnas and of the packages that are found (hwnas/find.py)."""
    return _operators(find.packages())


@lru_cache(maxsize=8)
def _operators(packages: tuple[str, ...]) -> Operators:
    modules = tuple(find.load(AXIS, name) for name in find.names(AXIS))
    of_node: dict[str, ModuleType] = {}
    of_step: dict[str, ModuleType] = {}
    fusions: list[StepFusion] = []
    for module in modules:
        _claim(of_node, module, module.ONNX, "the ONNX operator")
        _claim(of_step, module, module.KINDS, "steps of kind")
        fusions += [fusion for fusion in module.FUSIONS if isinstance(fusion, StepFusion)]
    return Operators(modules, of_node, of_step, tuple(sorted(fusions, key=lambda fusion: fusion.turn)))


def _claim(of: dict[str, ModuleType], module: ModuleType, names: Mapping[str, Any], what: str) -> None:
    for name in names:
        if name in of:
            raise HwnasError(
                f"{module.__file__}: {what} {name!r} is in {of[name].__file__} too", hint="one operator, one file"
            )
        of[name] = module


def qualified(node: NodeProto) -> str:
    """The operator's name with its domain, where that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def markdown() -> str:
    """The table of docs/operators.md."""
    rows = ["| operator | form | runs between DequantizeLinear and QuantizeLinear as |", "|---|---|---|"]
    runs = {"integer": "integers", "float": "float32", "view": "nothing (a view)"}
    for operator, forms in sorted(forms_of().items()):
        rows += [f"| {operator} | {form.text} | {runs.get(form.reads, '**refused**')} |" for form in forms]
    return "\n".join(rows) + "\n"


def forms_of() -> dict[str, tuple[Form, ...]]:
    """The forms of every ONNX operator that declares some, by its name without the domain."""
    found = operators()
    return {name.rpartition("::")[2]: module.ONNX[name] for name, module in found.of_node.items() if module.ONNX[name]}
