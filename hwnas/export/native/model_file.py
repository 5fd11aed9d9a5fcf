"""ONNX files read without trust: external data only from the model's folder, no array before its size is checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.errors import HwnasError

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

#: protobuf holds no larger message
MOST_FILE_BYTES = 2**31 - 1
#: 1 GiB of float32; kernels index with 32 bits, and nothing that is compiled for a device comes near it
MOST_ELEMENTS = 2**28


def load_model(model: ModelProto | str | Path) -> ModelProto:
    """The model itself, or the file it lies in with its external data read into it."""
    if not isinstance(model, (str, Path)):
        return model
    from onnx import ModelProto

    path = Path(model)
    if not path.is_file():
        raise HwnasError(f"{path} is not a file", hint="give an ONNX file or a ModelProto")
    if path.stat().st_size > MOST_FILE_BYTES:
        raise HwnasError(f"{path} has {path.stat().st_size} bytes, at most {MOST_FILE_BYTES} are one ONNX model")
    try:
        found = ModelProto.FromString(path.read_bytes())
    except Exception as error:  # protobuf raises its own, version-dependent classes
        raise HwnasError(f"{path} is not an ONNX model: {error}", hint="write it with onnx.save") from error
    if not found.HasField("graph"):
        raise HwnasError(f"{path} is not an ONNX model: it holds no graph", hint="write it with onnx.save")
    try:
        for tensor in _tensors(found):
            if tensor.data_location == tensor.EXTERNAL:
                _read_external(tensor, path.parent)
    except UnicodeDecodeError as error:
        raise HwnasError(f"{path} is not an ONNX model: a name in it is not UTF-8", hint="export it again") from error
    return found


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """The tensors of the main graph; those of sub-graphs and functions are never read."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for item in node.attribute:
            if item.HasField("t"):
                yield item.t


def _read_external(tensor: TensorProto, folder: Path) -> None:
    """Puts the external bytes into the tensor. The file must lie in the model's folder, links followed."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"tensor {tensor.name!r}: its external data {location!r}"
    relative, hint = Path(location), "save the model with its weights in it"
    if not location or "\0" in location or relative.is_absolute() or ".." in relative.parts:
        raise HwnasError(
            f"{where} must be a path below the model's folder", hint="save the model with its weights in it"
        )
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise HwnasError(f"{where} is not a file in the model's folder", hint=hint)
    size = _byte_size(tensor)
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(size)))
    except ValueError:
        raise HwnasError(f"{where} has an offset or a length that is no number") from None
    if offset < 0 or length != size or offset + size > path.stat().st_size:
        raise HwnasError(f"{where} must hold {size} bytes from {offset} on, it says {length}, the file ends before")
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(size)
    tensor.data_location = tensor.DEFAULT
    del tensor.external_data[:]


def _item_bits(tensor: TensorProto) -> int:
    """Bits of one element as raw_data stores it; 0 for a type that has no such form."""
    from onnx import TensorProto, helper

    if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    name = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in TensorProto.DataType.values() else ""
    if name.endswith("INT4") or name.startswith("FLOAT4"):
        return 4
    if name.endswith("INT2"):
        return 2
    try:
        return 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError):
        return 0


def _elements(tensor: TensorProto) -> int:
    dims = list(tensor.dims)
    count = 1
    for dim in dims:
        count *= dim
        if dim < 0 or count > MOST_ELEMENTS:
            raise HwnasError(
                f"tensor {tensor.name!r} has shape {dims}",
                hint=f"sizes of at least 0, at most {MOST_ELEMENTS} elements",
            )
    return count


def _byte_size(tensor: TensorProto) -> int:
    bits = _item_bits(tensor)
    if not bits:
        raise HwnasError(f"tensor {tensor.name!r} has element type {tensor.data_type}", nearest=("float32",))
    return -(-_elements(tensor) * bits // 8)


def array_of(tensor: TensorProto) -> np.ndarray:
    """The tensor's numbers. HwnasError where shape and data do not match; nothing is allocated before they do."""
    from onnx import numpy_helper

    count, size = _elements(tensor), _byte_size(tensor)
    if tensor.data_location == tensor.EXTERNAL:
        raise HwnasError(f"tensor {tensor.name!r} lies in another file", hint="give the model as a file, not in memory")
    if tensor.HasField("raw_data"):
        found, needed = len(tensor.raw_data), size
    else:
        fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
        found, needed = sum(len(field) for field in fields), count if _item_bits(tensor) >= 8 else -1
    if needed not in (found, -1):
        raise HwnasError(
            f"tensor {tensor.name!r} of shape {list(tensor.dims)} needs {needed}, it holds {found} numbers"
        )
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise HwnasError(f"tensor {tensor.name!r} cannot be read: {' '.join(str(error).split())[:200]}") from error
