"""Where no kernel covers a model and the user asked for it: a folder that ONNX Runtime runs, saying why.

It holds model.onnx and manifest.json with `engine: onnxruntime` and the compiler's refusal, and `load_native` gives the
same numpy function for it as for a compiled library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import HwnasError
from hwnas.export.native.artifact import read_manifest
from hwnas.export.native.ends import ELEMENT_BYTES, End, as_samples, ordered
from hwnas.export.native.model_file import load_model
from hwnas.export.native.replacement import MANIFEST, SCHEMA, new_folder, sealed
from hwnas.paths import read_json

FILE = "model.onnx"


def keep_for_onnxruntime(model: str | Path, folder: str | Path, refusal: HwnasError) -> dict[str, Any]:
    """Writes the folder and returns its manifest. HwnasError where ONNX Runtime does not run the model either."""
    # read as the compiler reads it: external data comes from the model's folder or not at all, and goes into the file
    data, folder = load_model(model).SerializeToString(), Path(folder)
    _session(data, str(model))
    manifest = sealed(
        {
            "schema": SCHEMA,
            "engine": "onnxruntime",
            "reason": refusal.message,
            "files": {FILE: hashlib.sha256(data).hexdigest()},
        }
    )
    with new_folder(folder) as whole:
        (whole / FILE).write_bytes(data)
        (whole / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def is_kept_for_onnxruntime(folder: str | Path) -> bool:
    """Whether `folder` is one of these."""
    try:
        return bool(read_json(Path(folder) / MANIFEST)["engine"] == "onnxruntime")
    except (HwnasError, LookupError, TypeError):
        return False


def kept_file(folder: str | Path) -> Path:
    """The model in one of these folders; HwnasError where it is not the file that was exported."""
    path = Path(folder) / FILE
    listed = read_manifest(folder).get("files")
    wanted = listed.get(FILE) if isinstance(listed, dict) else None
    if path.is_symlink() or not path.is_file():
        raise HwnasError(f"{folder} has no file {FILE}", hint="export it again")
    # older versions listed the first 16 digits
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not isinstance(wanted, str) or len(wanted) < 16 or not found.startswith(wanted):
        raise HwnasError(f"{path} is not the file that was exported", hint="export it again")
    return path


class RuntimeModel:
    """A model in ONNX Runtime on one thread: [N, *sample] in, [N, *result] out, one sample at a time."""

    def __init__(self, folder: str | Path) -> None:
        path = kept_file(folder)
        self._session = _session(path.read_bytes(), str(path))
        self.inputs = tuple(_end(item) for item in self._session.get_inputs())
        self.input_type = np.dtype(self.inputs[0].type)

    def __call__(self, batch: Any) -> Any:
        """[N, *sample] -> [N, *result]; of several inputs a tuple or a dict of such, of several outputs a tuple."""
        arrays = [
            as_samples(array, np.dtype(end.type))
            for end, array in zip(self.inputs, ordered(self.inputs, batch), strict=True)
        ]
        results = [
            self._session.run(
                None,
                {
                    end.name: one if end.sample == end.shape else one[None]
                    for end, one in zip(self.inputs, sample, strict=True)
                },
            )
            for sample in zip(*arrays, strict=True)
        ]
        found = tuple(_stacked(one) for one in zip(*results, strict=True))
        return found if len(found) > 1 else found[0]


def _end(item: Any) -> End:
    """An input as ONNX Runtime tells of it; free axes are 1 (ONNX Runtime checks the sizes)."""
    shape = tuple(size if isinstance(size, int) else 1 for size in item.shape)
    kind = item.type.removeprefix("tensor(").removesuffix(")")
    return End(item.name, "", shape or (1,), kind if kind in ELEMENT_BYTES else "float32")


def _stacked(results: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """[N, *result] of results [1, *result], or of ones without a batch."""
    return np.concatenate(results) if results[0].ndim > 1 and results[0].shape[0] == 1 else np.stack(results)


def _session(data: bytes, name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    except Exception as problem:  # ONNX Runtime raises many kinds for a model it refuses
        raise HwnasError(f"{name} does not load in ONNX Runtime: {' '.join(str(problem).split())[:200]}") from None
