"""Runs an exported file in a process of its own: python -I verify_runner.py ARTEFACT SAMPLES.npz OUTPUTS.npy

Needs numpy, and onnxruntime for .onnx files; nothing of the package that exported the file. ARTEFACT is an .onnx file
or a folder with a native library and its manifest.json. The last line of standard output is a JSON object: the
runtime, or an error.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 50
Runner = Callable[[np.ndarray], np.ndarray]


def open_onnx(path: Path) -> tuple[str, Runner]:
    """The model in ONNX Runtime on the CPU; images go one by one where the file's batch is fixed at 1."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    batch = source.shape[0] if isinstance(source.shape[0], int) else BATCH

    def run(images: np.ndarray) -> np.ndarray:
        if len(images) % batch and isinstance(source.shape[0], int):
            raise ValueError(f"the file takes {batch} images at a time, {len(images)} given")
        parts = [images[i : i + batch] for i in range(0, len(images), batch)]
        return np.concatenate([session.run(None, {source.name: part})[0] for part in parts])

    return f"onnxruntime {onnxruntime.__version__}", run


def open_native(folder: Path) -> tuple[str, Runner]:
    """A native export's library: `int <name>_run_sized(input, output, arena, arena_bytes)`, one image a call."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    library = checked_library(folder, manifest)
    name, alignment = manifest["name"], manifest["alignment"]
    function = library[f"{name}_run_sized"]
    function.argtypes, function.restype = [ctypes.c_void_p] * 3 + [ctypes.c_size_t], ctypes.c_int
    source, result = aligned_like(manifest["input"], alignment), aligned_like(manifest["output"], alignment)
    arena = aligned(manifest["arena_bytes"], alignment)

    def run(images: np.ndarray) -> np.ndarray:
        outputs = np.empty((len(images), *result.shape[1:]), result.dtype)
        for i, image in enumerate(images):
            source[0] = image
            status = function(source.ctypes.data, result.ctypes.data, arena.ctypes.data, arena.size)
            if status:
                raise ValueError(f"{name}_run_sized returned {status}")
            outputs[i] = result[0]
        return outputs

    return f"native {manifest['target']}", run


def checked_library(folder: Path, manifest: dict[str, Any]) -> ctypes.CDLL:
    """The library, where the folder holds just what the manifest lists and the library itself gives the manifest's
    sizes: with others it would read or write past a buffer."""
    name = manifest["name"]
    if manifest.get("schema") != 1 or not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(f"{folder} has no manifest of a native library")
    files = {f"lib{name}.so": "", **manifest["files"]}
    for file, digest in files.items():
        if Path(file).name != file or (folder / file).is_symlink():
            raise ValueError(f"{folder}: the manifest lists {file!r}, which is no plain file in it")
        if hashlib.sha256((folder / file).read_bytes()).hexdigest() != digest:
            raise ValueError(f"{folder / file} is not the file that was exported")
    library = ctypes.CDLL(str(folder / f"lib{name}.so"))
    for what, wanted in {
        "input_bytes": end_bytes(manifest["input"]),
        "output_bytes": end_bytes(manifest["output"]),
        "arena_bytes": manifest["arena_bytes"],
        "alignment": manifest["alignment"],
    }.items():
        ask = library[f"{name}_{what}"]
        ask.argtypes, ask.restype = [], ctypes.c_size_t
        if type(wanted) is not int or ask() != wanted:
            raise ValueError(f"{folder}: the manifest gives {what} {wanted}, the library {ask()}")
    return library


def end_bytes(end: dict[str, Any]) -> int:
    """Bytes of an input or output that is made of numbers."""
    kind = np.dtype(end["type"])
    sizes = end["shape"]
    if kind.kind not in "fiu" or any(type(size) is not int or size < 1 for size in sizes) or sizes[:1] != [1]:
        raise ValueError(f"{end} is not a shape [1, ...] and a number type")
    return math.prod(end["shape"]) * kind.itemsize


def aligned(size: int, alignment: int) -> np.ndarray:
    """`size` zero bytes at an address that is a multiple of `alignment`."""
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size]


def aligned_like(end: dict[str, Any], alignment: int) -> np.ndarray:
    """An aligned array of an end's shape (batch 1 included) and type."""
    kind, shape = np.dtype(end["type"]), tuple(end["shape"])
    return aligned(int(np.prod(shape)) * kind.itemsize, alignment).view(kind).reshape(shape)


def main(arguments: list[str]) -> int:
    """0 with outputs written, 1 with the reason on standard output."""
    artifact, samples, outputs = map(Path, arguments)
    try:
        images = np.load(samples)["images"]
        runtime, run = open_native(artifact) if artifact.is_dir() else open_onnx(artifact)
        np.save(outputs, run(images))
        answer = {"runtime": runtime, "samples": len(images), "hwnas_loaded": "hwnas" in sys.modules}
    except Exception as problem:  # whatever the runtime raises is the answer
        first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        answer = {"error": first}
    print(json.dumps(answer))
    return int("error" in answer)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
