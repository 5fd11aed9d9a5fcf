"""One ONNX model to a folder: header, libraries, example, bench and manifest, written whole or not at all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import HwnasError
from hwnas.export.native import emit, interface, link, microcontroller, templates
from hwnas.export.native.agreement import agree
from hwnas.export.native.artifact import NativeArtifact, artifact_of
from hwnas.export.native.cpu_check import cpu_check
from hwnas.export.native.elf import flash_and_ram
from hwnas.export.native.ends import records
from hwnas.export.native.fuse import fuse
from hwnas.export.native.graph import load_model, read_graph
from hwnas.export.native.lower import Candidate, KernelCall, lower
from hwnas.export.native.objects import default_cache, kernel_objects
from hwnas.export.native.program import Program, assemble, kernel_sources
from hwnas.export.native.replacement import MANIFEST, SCHEMA, file_digest, new_folder, refuse_what_is_not_ours, sealed
from hwnas.export.native.tiles import TileTable
from hwnas.export.recipe import c_call, c_function, recipe_from, record_of

if TYPE_CHECKING:
    from onnx import ModelProto

    from hwnas.kernels.target import Target


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

    if not (name.isascii() and name.isidentifier()):
        raise HwnasError(f"name {name!r} must be a C identifier", nearest=("model",))
    destination = Path(folder)
    if destination.exists() and not replace:
        raise HwnasError(f"{destination} exists", hint="name another folder")
    refuse_what_is_not_ours(Path(os.path.realpath(destination)))  # before the work, and again after it
    machine = parse_target(target)
    start = time.perf_counter()
    table = tiles if tiles is None or isinstance(tiles, TileTable) else TileTable(Path(tiles), target)
    model = load_model(model)
    program, kernels = plan_model(model, machine, choose_tile or (table.choose if table else None))
    if table is not None:
        table.save()
    objects = kernel_objects(kernels, machine, Path(cache) if cache is not None else default_cache())
    with new_folder(destination) as whole:
        manifest = _write(whole, program, machine, name, objects)
        agreement = agree(artifact_of(whole, manifest), model, program, machine)
        manifest = sealed({**manifest, "agreement": agreement.record()})
        (whole / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    manifest = {**manifest, "seconds": round(time.perf_counter() - start, 3)}
    return artifact_of(destination, manifest)


def plan_model(
    model: ModelProto | str | Path, machine: Target, choose_tile: Callable[[Candidate], int] | None = None
) -> tuple[Program, Mapping[str, KernelCall]]:
    """Reads, fuses, chooses kernels and places memory; compiles nothing."""
    loaded = load_model(model)
    graph = fuse(read_graph(loaded))
    calls, images = lower(graph, machine, choose_tile or (lambda _: 0))
    program = assemble(graph, calls, images, machine.architecture.alignment)
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
    work.mkdir()
    constants = f"{name}_constants.bin"
    (work / constants).write_bytes(program.constants)
    filled = {"name": name, "NAME": name.upper(), "alignment": program.alignment, "file": constants}
    filled |= {"preprocess": "", **interface.example(program, name)}
    if program.preprocess is not None and program.preprocess["where"] == "outside":
        recipe = recipe_from(program.preprocess)
        filled |= {"preprocess": c_function(recipe, name), "given": c_call(recipe, name)}
    texts = {
        f"{name}.h": emit.header(program, name, machine.text),
        f"{name}.c": emit.source(program, name, cpu_check(machine, name)),
        f"{name}_constants.S": templates.CONSTANTS_ASSEMBLY.format(**filled),
        f"{name}_constants.c": templates.CONSTANTS_C.format(**filled),
        "example.c": templates.EXAMPLE.format(**filled),
        "bench.c": templates.BENCH.format(**filled),
    }
    if machine.architecture.board_emulator:
        texts |= {"startup.c": microcontroller.STARTUP.format(**filled), "board.ld": microcontroller.LINKER_SCRIPT}
    for file, text in texts.items():
        (work / file).write_text(text)
    made = link.build(tools, work, name, objects)
    for file in (f"{name}.h", "example.c", *made):
        (work / file).rename(folder / file)
    manifest = _manifest(folder, program, machine, name, tools.name)
    if "bench.elf" in made:
        manifest["flash_bytes"], manifest["ram_bytes"] = flash_and_ram(folder / "bench.elf")
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
        **records(program.inputs, program.outputs),
        **({} if program.preprocess is None else {"preprocess": program.preprocess}),
        "arena_bytes": program.arena_bytes,
        "planned_bytes": plan.arena_bytes,
        "lower_bound_bytes": plan.lower_bound_bytes,
        "arena_overhead": round(plan.overhead, 6),
        "constant_bytes": len(program.constants),
        "macs": sum(call.macs for call in program.calls),
        "steps": [{"kind": c.kind, "node": c.node, "kernel": c.symbol, "macs": c.macs} for c in program.calls],
        "files": {path.name: file_digest(path) for path in sorted(folder.iterdir())},
    }
