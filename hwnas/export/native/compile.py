"""One ONNX model to a folder: header, libraries, example, bench and manifest, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import HwnasError
from hwnas.export.native import emit, link, microcontroller, templates
from hwnas.export.native.elf import flash_and_ram
from hwnas.export.native.fuse import fuse
from hwnas.export.native.graph import load_model, read_graph
from hwnas.export.native.lower import Candidate, KernelCall, lower
from hwnas.export.native.objects import default_cache, kernel_objects
from hwnas.export.native.program import Program, assemble, kernel_sources
from hwnas.export.native.tiles import TileTable
from hwnas.export.recipe import c_call, c_function, recipe_from, record_of

if TYPE_CHECKING:
    from onnx import ModelProto

    from hwnas.kernels.target import Target

SCHEMA = 1


@dataclass(frozen=True)
class NativeArtifact:
    """What was made: the folder, its files (name -> sha256) and the manifest's facts."""

    folder: Path
    name: str
    target: str
    files: Mapping[str, str]
    arena_bytes: int
    lower_bound_bytes: int
    constant_bytes: int
    manifest: Mapping[str, Any]

    def file(self, name: str) -> Path:
        """The path of one file of the artefact."""
        if name not in self.files:
            raise HwnasError(f"{self.folder} has no {name}", nearest=tuple(self.files))
        return self.folder / name


def compile_onnx(
    model: ModelProto | str | Path,
    target: str,
    folder: str | Path,
    name: str = "model",
    *,
    cache: str | Path | None = None,
    tiles: str | Path | TileTable | None = None,
    choose_tile: Callable[[Candidate], int] | None = None,
    replace: bool = True,
) -> NativeArtifact:
    """Compiles an ONNX model in the project's contract into a dependency-free library.

    `target` is a kernel target (an alias such as "host" or "aarch64", or a full target string); `cache` keeps compiled
    kernels between calls. `tiles` is a JSON file of tile choices: where the target is this machine, kernels that it
    lacks are timed once and added. `choose_tile` decides instead of such a file. The folder appears whole: an error
    leaves what was there before. HwnasError names the node of an operator that no kernel covers.
    """
    from hwnas.kernels.target import parse_target

    if not name.isidentifier():
        raise HwnasError(f"name {name!r} must be a C identifier", nearest=("model",))
    destination = Path(folder)
    if destination.exists() and not replace:
        raise HwnasError(f"{destination} exists", hint="name another folder")
    machine = parse_target(target)
    start = time.perf_counter()
    table = tiles if tiles is None or isinstance(tiles, TileTable) else TileTable(Path(tiles), target)
    program, kernels = plan_model(model, machine, choose_tile or (table.choose if table else None))
    if table is not None:
        table.save()
    objects = kernel_objects(kernels, machine, Path(cache) if cache is not None else default_cache())
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}-") as part:
        whole = Path(part) / "whole"
        manifest = _write(whole, program, machine, name, objects)
        _put(whole, destination, Path(part) / "old")
    manifest = {**manifest, "seconds": round(time.perf_counter() - start, 3)}
    return _artifact(destination, manifest)


def plan_model(
    model: ModelProto | str | Path, machine: Target, choose_tile: Callable[[Candidate], int] | None = None
) -> tuple[Program, Mapping[str, KernelCall]]:
    """Reads, fuses, chooses kernels and places memory; compiles nothing."""
    loaded = load_model(model)
    graph = fuse(read_graph(loaded))
    calls, images = lower(graph, machine, choose_tile or (lambda _: 0))
    program = assemble(graph, calls, images, 16 if machine.arch == "thumb" else 64)
    return replace(program, preprocess=_preprocessing(loaded, program)), kernel_sources(calls)


def _preprocessing(model: ModelProto, program: Program) -> dict[str, Any] | None:
    """What the model says of its preprocessing; HwnasError where that is not how its input looks."""
    record = record_of(model)
    if record is None or record["where"] == "inside":
        return {"where": "inside"} if program.input_type == "uint8" else None
    if tuple(record["input"]["shape"]) != program.input_shape or program.input_type != "float32":
        raise HwnasError(
            f"the model's metadata describe an input {record['input']['shape']}, it takes {list(program.input_shape)}",
            hint="export it again",
        )
    return record


def _write(folder: Path, program: Program, machine: Target, name: str, objects: Sequence[Path]) -> dict[str, Any]:
    """Everything into `folder`; what only the build needs is removed again."""
    tools = link.toolchain(machine)
    work = folder.parent / "work"
    work.mkdir(parents=True)
    folder.mkdir()
    constants = f"{name}_constants.bin"
    (work / constants).write_bytes(program.constants)
    filled = {"name": name, "NAME": name.upper(), "alignment": program.alignment, "file": constants}
    filled |= {"input_type": program.input_type, "preprocess": "", **templates.INPUTS[program.input_type]}
    if program.preprocess is not None and program.preprocess["where"] == "outside":
        recipe = recipe_from(program.preprocess)
        filled |= {"preprocess": c_function(recipe, name), "given": c_call(recipe, name)}
    texts = {
        f"{name}.h": emit.header(program, name),
        f"{name}.c": emit.source(program, name),
        f"{name}_constants.S": templates.CONSTANTS_ASSEMBLY.format(**filled),
        f"{name}_constants.c": templates.CONSTANTS_C.format(**filled),
        "example.c": templates.EXAMPLE.format(**filled),
        "bench.c": templates.BENCH.format(**filled),
    }
    if machine.arch == "thumb":
        texts |= {"startup.c": microcontroller.STARTUP.format(**filled), "board.ld": microcontroller.LINKER_SCRIPT}
    for file, text in texts.items():
        (work / file).write_text(text)
    made = link.build(tools, work, name, objects)
    for file in (f"{name}.h", "example.c", *made):
        (work / file).rename(folder / file)
    manifest = _manifest(folder, program, machine, name, tools.name)
    if "bench.elf" in made:
        manifest["flash_bytes"], manifest["ram_bytes"] = flash_and_ram(folder / "bench.elf")
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def _manifest(folder: Path, program: Program, machine: Target, name: str, tool: str) -> dict[str, Any]:
    plan = program.plan
    return {
        "schema": SCHEMA,
        "name": name,
        "target": machine.text,
        "triple": machine.triple,
        "cpu": machine.cpu,
        "features": sorted(machine.features),
        "linker": tool,
        "alignment": program.alignment,
        "input": {"shape": list(program.input_shape), "type": program.input_type},
        "output": {"shape": list(program.output_shape), "type": "float32"},
        **({} if program.preprocess is None else {"preprocess": program.preprocess}),
        "arena_bytes": program.arena_bytes,
        "planned_bytes": plan.arena_bytes,
        "lower_bound_bytes": plan.lower_bound_bytes,
        "arena_overhead": round(plan.overhead, 6),
        "constant_bytes": len(program.constants),
        "macs": sum(call.macs for call in program.calls),
        "steps": [{"kind": c.kind, "node": c.node, "kernel": c.symbol, "macs": c.macs} for c in program.calls],
        "files": {path.name: _sha256(path) for path in sorted(folder.iterdir())},
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _put(whole: Path, destination: Path, old: Path) -> None:
    """Moves the finished folder to its place; an older artefact there goes away with the temporary folder."""
    if destination.exists():
        if any(destination.iterdir()) and not (destination / "manifest.json").is_file():
            raise HwnasError(f"{destination} holds other files", hint="name an empty or new folder")
        destination.rename(old)
    try:
        whole.rename(destination)
    except OSError:
        if old.exists():
            shutil.move(old, destination)
        raise


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of an artefact folder, checked for its schema."""
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise HwnasError(
            f"{path} is not a native artefact's manifest: {error}", hint="hwnas export --format native"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise HwnasError(
            f"{path} has schema {manifest.get('schema') if isinstance(manifest, dict) else None}",
            nearest=(str(SCHEMA),),
            hint="export it again",
        )
    return manifest


def _artifact(folder: Path, manifest: Mapping[str, Any]) -> NativeArtifact:
    return NativeArtifact(
        folder,
        manifest["name"],
        manifest["target"],
        manifest["files"],
        manifest["arena_bytes"],
        manifest["lower_bound_bytes"],
        manifest["constant_bytes"],
        manifest,
    )


def open_artifact(folder: str | Path) -> NativeArtifact:
    """An artefact made before."""
    return _artifact(Path(folder), read_manifest(folder))
