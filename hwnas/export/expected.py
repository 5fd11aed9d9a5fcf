"""What an exported file must answer: inputs, targets and outputs in one .npz, each input and output by its name.

A network with one input has it as `images`, and one output is `expected`; several are `input/<name>` and
`expected/<name>`. `labels` are the targets, where there are any, and `tolerance` says how equal is equal enough
(hwnas/export/verify.py).
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.quantise import Given
from hwnas.paths import write_bytes

ONLY_INPUT, INPUT, ONLY_OUTPUT, OUTPUT = "images", "input/", "expected", "expected/"


@dataclass(frozen=True)
class Expected:
    """N samples: `inputs` and `outputs` are an array (N, ...), or several by name; `targets` (N, ...).

    `tolerance` is `{"onnx": ..., "native": ...}` as an export wrote it, None where the file does not say.
    """

    inputs: Given
    targets: np.ndarray | None
    outputs: Given
    tolerance: Any | None = None

    def write(self, path: Path) -> None:
        """Writes the .npz whole or not at all."""
        held = _stored(self.inputs, ONLY_INPUT, INPUT)
        held |= {} if self.targets is None else {"labels": self.targets}
        held |= _stored(self.outputs, ONLY_OUTPUT, OUTPUT)
        said = {} if self.tolerance is None else {"tolerance": np.array(json.dumps(self.tolerance))}
        buffer = io.BytesIO()
        np.savez(buffer, **held, **said)  # type: ignore[arg-type]
        write_bytes(path, buffer.getvalue())


def arrays_of(given: Given) -> dict[str, np.ndarray]:
    """What is given by name; the only one is called ""."""
    return dict(given) if isinstance(given, Mapping) else {"": given}


def first(given: Given, count: int) -> Given:
    """The first `count` samples."""
    return {name: array[:count] for name, array in given.items()} if isinstance(given, Mapping) else given[:count]


def length(*given: Given) -> int:
    """N, of all that is given; HwnasError where that is not one number above 0."""
    counts = [len(array) for one in given for array in arrays_of(one).values()]
    if len(set(counts)) != 1 or not counts[0]:
        said = ", ".join(map(str, counts)) or "none"
        raise HwnasError(f"verification needs as many expected outputs as inputs, and some of each, got {said}")
    return counts[0]


def _stored(given: Given, only: str, prefix: str) -> dict[str, np.ndarray]:
    if isinstance(given, Mapping):
        return {f"{prefix}{name}": array for name, array in given.items()}
    return {only: given}


def _held(arrays: Mapping[str, np.ndarray], only: str, prefix: str) -> Given:
    named = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if only in arrays and named:
        raise ValueError(f"{only} is the only one of its kind, and {prefix}{next(iter(named))} is there too")
    if only in arrays:
        return arrays[only]
    if not named:
        raise KeyError(f"{only} is not in it")
    return named


def read(path: Path) -> Expected:
    """What an .npz holds; HwnasError where it is none, lacks something or its arrays are not of one length."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise HwnasError(f"{path} is no file", hint="--samples FILE.npz")  # reading a pipe would wait
    try:
        with np.load(path) as held:
            bounds = json.loads(str(held["tolerance"])) if "tolerance" in held.files else None
            arrays = {name: held[name] for name in held.files if name != "tolerance"}
        found = Expected(
            _held(arrays, ONLY_INPUT, INPUT), arrays.get("labels"), _held(arrays, ONLY_OUTPUT, OUTPUT), bounds
        )
        used = [*arrays_of(found.inputs).values(), *arrays_of(found.outputs).values()]
        used += [] if found.targets is None else [found.targets]
        sizes = {len(array) for array in used if array.dtype.kind in "biuf"}
        if any(array.dtype.kind not in "biuf" for array in used) or len(sizes) != 1:
            raise ValueError("they must be numbers, as many labels and outputs as images")
        return found
    # an array that is no archive cannot be closed, and has no `files`: TypeError, AttributeError
    except (
        OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error
    ) as problem:  # fmt: skip
        raise HwnasError(
            f"{path} does not hold images, labels and expected: {problem}", hint="--samples FILE.npz"
        ) from None
