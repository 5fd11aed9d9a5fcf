"""Where no kernel covers a model and the user asked for it: a folder that ONNX Runtime runs, saying why.

It holds model.onnx and manifest.json with `engine: onnxruntime` and the compiler's refusal, and `load_native` gives the
same numpy function for it as for a compiled library.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import HwnasError
from hwnas.paths import digest, read_json, write_bytes, write_json

SCHEMA = 1


def keep_for_onnxruntime(model: str | Path, folder: str | Path, refusal: HwnasError) -> dict[str, Any]:
    """Writes the folder and returns its manifest. HwnasError where ONNX Runtime does not run the model either."""
    data, folder = Path(model).read_bytes(), Path(folder)
    _session(data, str(model))
    manifest = {
        "schema": SCHEMA,
        "engine": "onnxruntime",
        "reason": str(refusal),
        "files": {"model.onnx": digest(data)},
    }
    write_bytes(folder / "model.onnx", data)
    write_json(folder / "manifest.json", manifest)
    return manifest


def is_kept_for_onnxruntime(folder: str | Path) -> bool:
    """Whether `folder` is one of these."""
    path = Path(folder) / "manifest.json"
    try:
        return path.is_file() and read_json(path).get("engine") == "onnxruntime"
    except (json.JSONDecodeError, AttributeError):
        return False


class RuntimeModel:
    """A model in ONNX Runtime on one thread: [N, *sample] in (float32 or uint8), [N, *result] out, one at a time."""

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder) / "model.onnx"
        self._session = _session(path.read_bytes(), str(path))
        given = self._session.get_inputs()[0]
        self._name, self.input_type = given.name, np.dtype("uint8" if given.type == "tensor(uint8)" else "float32")

    def __call__(self, batch: ArrayLike) -> NDArray[Any]:
        from hwnas.export.native.load import as_samples

        samples = as_samples(batch, self.input_type)
        return np.concatenate([self._session.run(None, {self._name: sample[None]})[0] for sample in samples])


def _session(data: bytes, name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    except Exception as problem:  # ONNX Runtime raises many kinds for a model it refuses
        raise HwnasError(f"{name} does not load in ONNX Runtime: {' '.join(str(problem).split())[:200]}") from None
