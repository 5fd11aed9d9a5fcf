"""Runs a native library from Python: numpy in, numpy out, through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.native.artifact import NativeArtifact, open_artifact
from hwnas.export.native.ends import batches, packed, unpacked
from hwnas.export.native.fallback import RuntimeModel, is_kept_for_onnxruntime
from hwnas.kernels.memory import aligned

#: what the library's error codes mean
ERRORS = {1: "null pointer", 2: "misaligned pointer", 3: "arena too small", 4: "no such step", 5: "unsupported CPU"}


class NativeModel:
    """A loaded library. Calling it runs each sample of a batch [N, ...], of the type that its manifest says, and
    returns the stacked outputs in the type that the manifest gives.

    One object holds one arena: give each thread its own.
    """

    def __init__(self, folder: str | Path) -> None:
        artifact = open_artifact(folder)
        library = f"lib{artifact.name}.so"
        if library not in artifact.files:
            raise HwnasError(
                f"{artifact.folder} has no shared library (target {artifact.target})",
                hint="export for this machine: --target host",
            )
        _refuse_another_machines(artifact)
        artifact.check_files()
        self._library = _load(artifact.file(library), artifact.target)
        _check_sizes(self._library, artifact)
        self.artifact = artifact
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self.input_shape, self.output_shape = self.inputs[0].shape, self.outputs[0].shape
        self.input_type, self.output_type = np.dtype(self.inputs[0].type), np.dtype(self.outputs[0].type)
        alignment = artifact.manifest["alignment"]
        self._input = aligned(artifact.input_bytes, alignment)
        self._output = aligned(artifact.output_bytes, alignment)
        self._arena = aligned(artifact.arena_bytes, alignment)
        self._run = getattr(self._library, f"{artifact.name}_run_sized")
        self._run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_size_t]
        self._run.restype = ctypes.c_int
        self._pointers = (self._input.ctypes.data, self._output.ctypes.data, self._arena.ctypes.data)

    def __call__(self, batch: Any) -> Any:
        """[N, *sample] -> [N, *result]; of several inputs a tuple or a dict of such, of several outputs a tuple."""
        arrays = batches(self.inputs, batch)
        blocks = packed(self.inputs, arrays)
        results = np.empty((len(blocks), self._output.size), np.uint8)
        for block, result in zip(blocks, results, strict=True):
            self._input[:] = block
            self.run()
            result[:] = self._output
        found = unpacked(self.outputs, results)
        return found if len(found) > 1 else found[0]

    def run(self) -> None:
        """One run on the input that is there already: what a benchmark times."""
        error = self._run(*self._pointers, self._arena.size)
        if error:
            raise HwnasError(f"{self.artifact.name}_run returned {error} ({ERRORS.get(error, 'unknown')})")


def _refuse_another_machines(artifact: NativeArtifact) -> None:
    """HwnasError before any of its code runs, where the library is for instructions that this machine lacks."""
    from hwnas.kernels.instructions import missing_features
    from hwnas.kernels.target import architecture_of

    missing = missing_features(architecture_of(artifact.triple) or "", artifact.manifest["features"])
    if missing:
        raise HwnasError(
            f"{artifact.folder} is for {artifact.target}; this machine lacks {', '.join(missing)}",
            hint="export for this machine: --target host",
        )


def _check_sizes(library: ctypes.CDLL, artifact: NativeArtifact) -> None:
    """HwnasError where the library itself says other sizes than the manifest: it would read or write past a buffer."""
    told = {
        "input_bytes": artifact.input_bytes,
        "output_bytes": artifact.output_bytes,
        "arena_bytes": artifact.arena_bytes,
        "alignment": artifact.manifest["alignment"],
    }
    for what, manifest in told.items():
        try:
            ask = library[f"{artifact.name}_{what}"]
        except AttributeError:
            raise HwnasError(f"{artifact.folder}: the library has no {artifact.name}_{what}") from None
        ask.argtypes, ask.restype = [], ctypes.c_size_t
        if ask() != manifest:
            raise HwnasError(
                f"{artifact.folder}: the manifest gives {what} {manifest}, the library {ask()}", hint="export it again"
            )


def _load(library: Path, target: str) -> ctypes.CDLL:
    """Loads a copy under a name of its own: the loader would answer with an older file of the same path."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / library.name
        shutil.copyfile(library, copy)
        try:
            return ctypes.CDLL(str(copy))
        except OSError as error:
            raise HwnasError(
                f"{library} does not load here (target {target}): {error}",
                hint="export for this machine: --target host",
            ) from error


def load_native(folder: str | Path) -> NativeModel | RuntimeModel:
    """The function that a native artefact computes: by its shared library, or by ONNX Runtime if kept for it."""
    return RuntimeModel(folder) if is_kept_for_onnxruntime(folder) else NativeModel(folder)
