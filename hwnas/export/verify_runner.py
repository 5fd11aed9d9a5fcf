"""Runs an exported file in a process of its own: python -I verify_runner.py ARTEFACT SAMPLES.npz OUTPUTS.npz

Needs numpy, and onnxruntime for .onnx files; nothing of the package that exported the file. ARTEFACT is an .onnx file
or a folder with a native library and its manifest.json. SAMPLES hold `input/<name>` (N, ...) of every input, or of the
only one whatever it is called; OUTPUTS get `output/<name>`. The last line of standard output is a JSON object: the
runtime, or an error.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 50
INPUT, OUTPUT = "input/", "output/"
MOST_ENDS = 64
Arrays = dict[str, np.ndarray]
Runner = Callable[[Arrays], Arrays]


def open_onnx(path: Path) -> tuple[str, Runner]:
    """The model in ONNX Runtime on the CPU; samples go one by one where the file's batch is fixed at 1, or where an
    input has no axis for a batch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    sources, results = session.get_inputs(), [spec.name for spec in session.get_outputs()]

    def run(given: Arrays) -> Arrays:
        named = matched(given, [spec.name for spec in sources])
        whole = {spec.name: len(spec.shape) == named[spec.name].ndim for spec in sources}
        fixed = {spec.shape[0] for spec in sources if whole[spec.name] and isinstance(spec.shape[0], int)}
        batch = 1 if not all(whole.values()) else min(fixed, default=BATCH)
        count = len(next(iter(named.values())))
        if len(fixed) > 1 or (fixed and count % batch):
            raise ValueError(f"the file takes {sorted(fixed)} samples at a time, {count} given")
        parts = []
        for i in range(0, count, batch):
            some = {name: x[i : i + batch] if whole[name] else np.asarray(x[i]) for name, x in named.items()}
            parts.append(session.run(None, some))
        together = min(batch, count)
        return {name: joined(made, together) for name, made in zip(results, zip(*parts, strict=True), strict=True)}

    return f"onnxruntime {onnxruntime.__version__}", run


def joined(parts: Sequence[np.ndarray], together: int) -> np.ndarray:
    """(N, ...) of an output of every run on `together` samples: one by one it may have an axis of 1 for it, or none."""
    return np.concatenate(parts) if parts[0].ndim and len(parts[0]) == together else np.stack(parts)


def open_native(folder: Path) -> tuple[str, Runner]:
    """A native export's library: `int <name>_run_sized(input, output, arena, arena_bytes)`, one sample a call; several
    inputs or outputs lie in one block, each at a multiple of the alignment."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    library = checked_library(folder, manifest)
    name, alignment = manifest["name"], manifest["alignment"]
    function = library[f"{name}_run_sized"]
    function.argtypes, function.restype = [ctypes.c_void_p] * 3 + [ctypes.c_size_t], ctypes.c_int
    blocks = [aligned(block_bytes(manifest, which), alignment) for which in ("input", "output")]
    sources, results = (views(manifest, which, block) for which, block in zip(("input", "output"), blocks, strict=True))
    arena = aligned(manifest["arena_bytes"], alignment)

    def run(given: Arrays) -> Arrays:
        named = matched(given, list(sources))
        count = len(next(iter(named.values())))
        outputs = {out: np.empty((count, *view.shape), view.dtype) for out, view in results.items()}
        for i in range(count):
            for source, view in sources.items():
                require_like(source, named[source][i], view)
                view[...] = named[source][i]
            status = function(blocks[0].ctypes.data, blocks[1].ctypes.data, arena.ctypes.data, arena.size)
            if status:
                raise ValueError(f"{name}_run_sized returned {status}")
            for out, view in results.items():
                outputs[out][i] = view
        return outputs

    return f"native {manifest['target']}", run


def matched(given: Arrays, names: Sequence[str]) -> Arrays:
    """What is given, by the artefact's own names: the only input may be called anything."""
    if len(given) == len(names) == 1:
        return {names[0]: next(iter(given.values()))}
    if set(given) != set(names):
        held = ", ".join(given) if "" not in given else "one without a name"
        raise ValueError(f"it takes {', '.join(names)}, samples have {held}")
    return {name: given[name] for name in names}


def require_like(name: str, sample: np.ndarray, view: np.ndarray) -> None:
    """A sample must be of the input's shape, and whole numbers where the library takes them: a cast would change them
    without a word."""
    if sample.shape != view.shape or (view.dtype.kind in "iu" and sample.dtype != view.dtype):
        raise ValueError(f"{name} is {view.dtype} {view.shape}, a sample {sample.dtype} {sample.shape}")


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
        "input_bytes": block_bytes(manifest, "input"),
        "output_bytes": block_bytes(manifest, "output"),
        "arena_bytes": manifest["arena_bytes"],
        "alignment": manifest["alignment"],
    }.items():
        ask = library[f"{name}_{what}"]
        ask.argtypes, ask.restype = [], ctypes.c_size_t
        if type(wanted) is not int or ask() != wanted:
            raise ValueError(f"{folder}: the manifest gives {what} {wanted}, the library {ask()}")
    return library


def ends_of(manifest: Mapping[str, Any], which: str) -> list[dict[str, Any]]:
    """The inputs or outputs of a manifest: the one that it names, or its list of several."""
    one = f"{which}s" not in manifest
    ends = [{**manifest[which], "name": which}] if one else manifest[f"{which}s"]
    if one and (len(ends[0]["shape"]) < 2 or ends[0]["shape"][0] != 1):
        raise ValueError(f"the manifest's {which} is {ends[0]['shape']}, not [1, ..]")
    names = [end["name"] for end in ends]
    if not 1 <= len(ends) <= MOST_ENDS or len(set(names)) != len(names) or not all(isinstance(n, str) for n in names):
        raise ValueError(f"the manifest's {which}s have no names of their own: {names}")
    return list(ends)


def end_bytes(end: Mapping[str, Any]) -> int:
    """Bytes of an input or output that is made of numbers."""
    kind, sizes = np.dtype(end["type"]), end["shape"]
    if kind.kind not in "fiu" or not sizes or any(type(size) is not int or size < 1 for size in sizes):
        raise ValueError(f"{end} is not a shape of sizes from 1 and a number type")
    return math.prod(sizes) * kind.itemsize


def block_bytes(manifest: Mapping[str, Any], which: str) -> int:
    """Bytes of the block that holds all inputs, or all outputs."""
    offset, end = _offsets(manifest, which)[-1]
    return offset + end_bytes(end)


def _offsets(manifest: Mapping[str, Any], which: str) -> list[tuple[int, dict[str, Any]]]:
    """Where each starts in the block, in bytes."""
    alignment, offset, found = manifest["alignment"], 0, []
    for end in ends_of(manifest, which):
        found.append((offset, end))
        offset += -(-end_bytes(end) // alignment) * alignment
    return found


def views(manifest: Mapping[str, Any], which: str, block: np.ndarray) -> Arrays:
    """Every input or output in the block, by name and in the shape of one sample: without a batch of 1."""
    found = {}
    for offset, end in _offsets(manifest, which):
        shape = end["shape"][1:] if end["shape"][0] == 1 else end["shape"]
        found[end["name"]] = block[offset : offset + end_bytes(end)].view(end["type"]).reshape(shape)
    return found


def aligned(size: int, alignment: int) -> np.ndarray:
    """`size` zero bytes at an address that is a multiple of `alignment`."""
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size]


def main(arguments: list[str]) -> int:
    """0 with outputs written, 1 with the reason on standard output."""
    artifact, samples, outputs = map(Path, arguments)
    try:
        with np.load(samples) as held:
            given = {name.removeprefix(INPUT): held[name] for name in held.files}
        runtime, run = open_native(artifact) if artifact.is_dir() else open_onnx(artifact)
        named = {f"{OUTPUT}{name}": array for name, array in run(given).items()}
        np.savez(outputs, **named)  # type: ignore[arg-type]
        count = len(next(iter(given.values())))
        answer = {"runtime": runtime, "samples": count, "hwnas_loaded": "hwnas" in sys.modules}
    except Exception as problem:  # whatever the runtime raises is the answer
        first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        answer = {"error": first}
    print(json.dumps(answer))
    return int("error" in answer)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
