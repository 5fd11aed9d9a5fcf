"""Any ONNX file as something to time: its inputs with their dynamic axes pinned, and what they may be filled with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import HwnasError, unknown

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a model: its numpy data type (`unknown` where numpy has none) and its shape without free axes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pinned: bool


def read_model(path: Path) -> ModelProto:
    """The model without the data that lies in other files; HwnasError where the file is no ONNX model."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except FileNotFoundError:
        raise HwnasError(f"{path} does not exist") from None
    except OSError as problem:
        raise HwnasError(f"{path} cannot be read: {problem.strerror or problem}") from None
    except (DecodeError, ValueError, RuntimeError) as problem:
        raise HwnasError(f"{path} is not an ONNX file: {' '.join(str(problem).split())[:200]}") from None
    if not model.graph.node or not model.graph.output:
        raise HwnasError(f"{path} is not an ONNX file: it has no node or no output")
    return model


def inputs_of(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> list[Input]:
    """The model's inputs; a free axis is 1 unless `shapes` gives that input's whole shape.

    HwnasError where `shapes` names no input, or contradicts an axis that is fixed.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in constants]
    for name in shapes:
        if name not in {value.name for value in given}:
            raise unknown("input", name, [value.name for value in given])
    return [_input(value, shapes.get(value.name)) for value in given]


def _input(value: Any, wanted: tuple[int, ...] | None) -> Input:
    kind = value.type.tensor_type
    axes = list(kind.shape.dim) if value.type.HasField("tensor_type") and kind.HasField("shape") else None
    if axes is None and wanted is None:
        raise HwnasError(
            f"input {value.name} has no shape in the file", hint=f"--shape {value.name}=1,3,224,224 gives one"
        )
    fixed = [axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None for axis in axes or ()]
    if wanted is None:
        shape = tuple(extent or 1 for extent in fixed)
    else:
        clash = axes is not None and (
            len(wanted) != len(fixed) or any(f not in (None, w) for f, w in zip(fixed, wanted, strict=True))
        )
        if clash:
            has = ", ".join("any" if extent is None else str(extent) for extent in fixed)
            raise HwnasError(f"input {value.name} has the shape ({has}), --shape gives {','.join(map(str, wanted))}")
        shape = wanted
    return Input(value.name, _dtype_name(kind.elem_type), shape, None in fixed or axes is None)


def _dtype_name(elem_type: int) -> str:
    from onnx import helper

    try:
        return str(helper.tensor_dtype_to_np_dtype(elem_type))
    except (KeyError, ValueError, TypeError):
        return "unknown"


def pinned(model: ModelProto, inputs: list[Input]) -> ModelProto:
    """The model with the inputs' free axes fixed, for engines that know all shapes beforehand.

    What the file says of shapes further on goes: it may name the same free axes.
    """
    from onnx import ModelProto as Proto

    if not any(one.pinned for one in inputs):
        return model
    edited = Proto()
    edited.CopyFrom(model)
    of = {one.name: one for one in inputs}
    for value in edited.graph.input:
        if value.name in of:
            del value.type.tensor_type.shape.dim[:]
            for extent in of[value.name].shape:
                value.type.tensor_type.shape.dim.add().dim_value = extent
    del edited.graph.value_info[:]
    for value in edited.graph.output:
        for axis in value.type.tensor_type.shape.dim:
            if not axis.HasField("dim_value"):
                axis.Clear()
    return edited


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """["x=1,3,224,224"] as {"x": (1, 3, 224, 224)}; HwnasError for anything else."""
    found: dict[str, tuple[int, ...]] = {}
    for text in texts or []:
        name, _, extents = text.rpartition("=")
        parts = extents.replace("x", ",").split(",") if extents else []
        if not name or not all(part.isascii() and part.isdigit() and 0 < int(part) < 2**31 for part in parts):
            raise HwnasError(f"--shape takes NAME=1,3,224,224 with extents above 0, got {text!r}")
        found[name] = tuple(int(part) for part in parts)
    return found


def constant_bytes(model: bytes) -> int:
    """Bytes of the tensors that an ONNX model holds: initializers, and constants of its graph and its functions."""
    import onnx
    from onnx import numpy_helper

    parsed = onnx.ModelProto.FromString(model)
    nodes = [*parsed.graph.node, *(node for function in parsed.functions for node in function.node)]
    constants = [a.t for node in nodes if node.op_type == "Constant" for a in node.attribute if a.HasField("t")]
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in (*parsed.graph.initializer, *constants))
