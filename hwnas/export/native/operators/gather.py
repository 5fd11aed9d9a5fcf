"""Gather: rows of a table by whole numbers, an embedding; float32 and 8-bit rows, of any axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hwnas.export.native.ir import ELEMENT_TYPES, Step, Value, plain
from hwnas.export.native.lower import KernelCall, Lowering
from hwnas.export.native.moves import dense, moved
from hwnas.export.native.operator import Constant, Example, Form, Fusion, Kind, Whole
from hwnas.export.native.quantisation import KINDS as CODES
from hwnas.export.native.reader import Reader, attribute, refuse

if TYPE_CHECKING:
    from onnx import NodeProto

ONNX = {
    "Gather": (
        Form("table", "a constant table of floats or of 8-bit codes of one scale, computed int32 or int64 numbers"),
        Form("places", "a computed tensor of floats or codes, constant or computed numbers"),
    )
}
KINDS = {"gather": Kind(exact=True)}
FUSIONS: tuple[Fusion, ...] = ()
EXAMPLES = (
    Example("Gather", (Constant((9, "D")), Whole((1, "T"), 9))),
    Example("Gather", ((1, "T", "D"), Constant(values=np.array([0, -1], np.int64))), {"axis": 1}),
    Example("Gather", ((1, 5, "D"), Whole((1, "T"), 5)), {"axis": 1}),
)


def read(reader: Reader, node: NodeProto) -> None:
    """Rows stay codes where the table holds codes. A number outside the table takes its nearest row."""
    if reader.is_constant(node.input[0]) and reader.is_constant(node.input[1]):
        table = reader.constants.get(node.input[0])
        if table is None:
            raise refuse(node, "constant rows of a quantised constant", ("store the rows themselves",))
        places = _constant_places(reader, node, table.shape)
        reader.keep(node, np.take(table, places, axis=int(attribute(node, "axis", 0))))
        return
    names, constants = list[str](), dict[str, np.ndarray]()
    rows, form = _table(reader, node, names, constants)
    axis = int(attribute(node, "axis", 0))
    if not -len(rows.shape) <= axis < len(rows.shape):
        raise refuse(node, f"axis={axis} of {len(rows.shape)} dimensions", ("axis=0",))
    axis %= len(rows.shape)
    if reader.is_constant(node.input[1]):
        places = _constant_places(reader, node, rows.shape)
        constants["ids"], chosen, ids = places.reshape(-1).astype(np.int64), places.shape, "int64"
    else:
        source = reader.whole_numbers(node, 1)
        reader.limit(source, rows.shape[axis])
        names.insert(0, source.name)
        chosen, ids = source.shape, ELEMENT_TYPES[source.kind]
    shape = (*rows.shape[:axis], *chosen, *rows.shape[axis + 1 :])
    value = plain(node.output[0], rows.kind, shape or (1,), rows.scale, rows.zero_point)
    attributes: dict[str, object] = {
        "outer": math.prod(rows.shape[:axis]),
        "rows": rows.shape[axis],
        "width": math.prod(rows.shape[axis + 1 :]),
        "count": math.prod(chosen),
        "ids": ids,
    }
    reader.emit("gather", node, tuple(names), value, attributes, constants)
    moved(reader, node, value, form, shape)


def _table(reader: Reader, node: NodeProto, names: list[str], constants: dict[str, np.ndarray]) -> tuple[Value, str]:
    """(a value like the table, how its rows are seen); the table itself goes into `constants` or `names`."""
    held = reader.quantised_constants.get(node.input[0])
    if held is not None and held.scale.size == 1 and held.integers.dtype in CODES:
        constants["table"] = held.integers
        kind = CODES[held.integers.dtype]
        return plain("", kind, held.integers.shape, float(held.scale[0]), held.zero_point), "dequantised"
    if reader.is_constant(node.input[0]):
        constants["table"] = reader.constant(node, 0)
        return plain("", "f32", constants["table"].shape), "real"
    source, form = dense(reader, node, 0)
    names.append(source.name)
    return source, form


def _constant_places(reader: Reader, node: NodeProto, shape: tuple[int, ...]) -> np.ndarray:
    places = reader.constants.get(node.input[1])
    rows = shape[int(attribute(node, "axis", 0))]
    if places is None or places.dtype not in (np.int32, np.int64):
        raise refuse(node, "places that are no whole numbers", ("int64", "int32"))
    if places.min() < -rows or places.max() >= rows:
        raise refuse(node, f"places from {places.min()} to {places.max()} of {rows} rows", (f"0 to {rows - 1}",))
    return places


def bind(lowering: Lowering, step: Step) -> KernelCall:
    """The kernel takes the numbers, then the table."""
    from hwnas.kernels import gather_rows

    value = lowering.value(step.outputs[0])
    outer, rows, width, count = (step.integer(key) for key in ("outer", "rows", "width", "count"))
    spec = gather_rows.GatherRows(outer, rows, width, count, ELEMENT_TYPES[value.kind], step.text("ids"))
    constants = [
        np.ascontiguousarray(step.constants[key]).reshape(-1) for key in ("ids", "table") if key in step.constants
    ]
    return lowering.call(step, gather_rows, spec, constants, late=1 if "ids" in step.constants else 0)
