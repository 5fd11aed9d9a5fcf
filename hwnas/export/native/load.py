"""Runs a native library from Python: numpy in, numpy out, through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import HwnasError
from hwnas.export.native.compile import open_artifact
from hwnas.export.native.fallback import RuntimeModel, is_kept_for_onnxruntime
from hwnas.export.native.memory import aligned

#: what the library's error codes mean
ERRORS = {1: "null pointer", 2: "misaligned pointer", 3: "arena too small", 4: "no such step"}


#: LLVM's feature names -> the operating system's, for the instructions that kernels use and older machines lack
_FLAGS = {
    "ssse3": "ssse3",
    "avx2": "avx2",
    "fma": "fma",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512vbmi": "avx512vbmi",
    "dotprod": "asimddp",
    "i8mm": "i8mm",
}


def missing_features(features: Sequence[str]) -> tuple[str, ...]:
    """Those of a target's features that this machine is known to lack: running them would be an illegal instruction."""
    info = Path("/proc/cpuinfo")
    here = set(info.read_text().split()) if info.is_file() else set()
    # a machine that lists no flags at all says nothing
    return tuple(f for f in features if f in _FLAGS and here and _FLAGS[f] not in here)


class NativeModel:
    """A loaded library. Calling it runs each sample of a batch [N, ...], float32 or raw uint8 pixels as its manifest
    says, and returns the stacked outputs.

    One object holds one arena: give each thread its own.
    """

    def __init__(self, folder: str | Path) -> None:
        artifact = open_artifact(folder)
        library = artifact.folder / f"lib{artifact.name}.so"
        if not library.is_file():
            raise HwnasError(
                f"{artifact.folder} has no shared library (target {artifact.target})",
                hint="export for this machine: --target host",
            )
        missing = missing_features(artifact.manifest["features"])
        if missing:
            raise HwnasError(
                f"{library} is for {artifact.target}; this machine lacks {', '.join(missing)}",
                hint="export for this machine: --target host",
            )
        self._library = _load(library, artifact.target)
        self.artifact = artifact
        self.input_shape = tuple(artifact.manifest["input"]["shape"])
        self.output_shape = tuple(artifact.manifest["output"]["shape"])
        alignment = int(artifact.manifest["alignment"])
        self.input_type = np.dtype(artifact.manifest["input"]["type"])
        self._input = aligned(self.input_type.itemsize * int(np.prod(self.input_shape)), alignment)
        self._output = aligned(4 * int(np.prod(self.output_shape)), alignment)
        self._arena = aligned(artifact.arena_bytes, alignment)
        self._run = getattr(self._library, f"{artifact.name}_run_sized")
        self._run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_size_t]
        self._run.restype = ctypes.c_int
        self._pointers = (self._input.ctypes.data, self._output.ctypes.data, self._arena.ctypes.data)

    def __call__(self, batch: ArrayLike) -> NDArray[np.float32]:
        """[N, *sample] -> [N, *result] float32."""
        samples = as_samples(batch, self.input_type)
        if samples.shape[1:] != self.input_shape[1:]:
            raise HwnasError(
                f"the input must be [N, {', '.join(map(str, self.input_shape[1:]))}], got {list(samples.shape)}"
            )
        results = np.empty((len(samples), *self.output_shape[1:]), np.float32)
        for sample, result in zip(samples, results, strict=True):
            self._input.view(self.input_type)[:] = sample.reshape(-1)
            self.run()
            result.reshape(-1)[:] = self._output.view(np.float32)
        return results

    def run(self) -> None:
        """One run on the input that is there already: what a benchmark times."""
        error = self._run(*self._pointers, self._arena.size)
        if error:
            raise HwnasError(f"{self.artifact.name}_run returned {error} ({ERRORS.get(error, 'unknown')})")


def as_samples(batch: ArrayLike, kind: np.dtype[Any]) -> NDArray[Any]:
    """The batch as a model of this input type takes it. HwnasError where raw pixels are asked for and reals are given:
    a cast would turn a normalised image into zeros and ones without a word."""
    samples = np.asarray(batch)
    if kind == np.uint8 and samples.dtype != np.uint8:
        raise HwnasError(
            f"this model takes raw uint8 pixels [N, H, W, C], got {samples.dtype}",
            hint="its preprocessing is inside: give pixels as they are",
        )
    return np.ascontiguousarray(samples, dtype=kind)


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
