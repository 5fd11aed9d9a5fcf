"""Export the winners of a run file as ONNX files and compiled libraries, or any ONNX file as a native library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hwnas.cli._job import Device, Limits, Out, RunPath, Trusted, job_of
from hwnas.cli._output import Json, keeping, print_json, progress_lines, results_console
from hwnas.errors import CheckFailed, HwnasError
from hwnas.pipeline.job import Job
from hwnas.units import readable_bytes, readable_metric

Format = Annotated[
    Literal["onnx", "native"], typer.Option("--format", help="native: a dependency-free C library as well.")
]
TargetName = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="native: a device profile or compiler target (hwnas devices targets). Default: the run's device; for an "
        "ONNX file any x86 with AVX2 where this is one, else host, this machine.",
    ),
]
Fallback = Annotated[
    bool, typer.Option("--fallback", help="native: where no kernel covers the model, keep it for ONNX Runtime.")
]


def export(
    run_file: RunPath,
    out: Out = None,
    limit: Limits = None,
    device: Device = None,
    format_: Format = "onnx",
    target: TargetName = None,
    fallback: Fallback = False,
    trust: Trusted = None,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas export examples/quickstart.yaml
        hwnas export my.yaml --format native --target raspberry-pi-5
        hwnas export model.int8.onnx --format native --target aarch64-dotprod --out pi

    Does whatever the export needs and is missing. Files: model.int8.onnx (QDQ), model.binary.onnx (1-bit weights,
    packed), model.fp32.onnx, and with --format native a folder with model.h, libmodel.a, example.c, bench and
    manifest.json for the target. Given an .onnx file, --out is the folder to write: new, empty, or an earlier export
    that nobody has changed. Every library runs on random inputs beside ONNX Runtime before it is put in place (under
    an emulator for another machine); a disagreement ends with exit 1 and changes nothing.
    """
    if target is not None and format_ == "onnx":
        raise HwnasError("--target goes with --format native")
    job = None if run_file.suffix == ".onnx" else job_of(run_file, out, limit, device, trust)
    if job is None:
        if format_ != "native":
            raise HwnasError(f"{run_file} is an ONNX file already", hint="--format native compiles it")
        chosen = target or _portable()
        made = [_native(run_file, chosen, out or Path(f"{run_file.stem}-native"), fallback)]
        if target is None and chosen != "host" and "engine" not in made[0]:  # compiled, not kept for ONNX Runtime
            from hwnas.kernels.target import summary

            progress_lines()(f"note: compiled for {summary(chosen)} --target host takes all that this machine has")
    else:
        made = _winners(job, format_, target)
    if json_output:
        print_json(made)
        return
    for one in made:
        facts = (
            f"{job.task.metric} {readable_metric(one['expected_accuracy'], job.task.unit)}"
            if job is not None and "expected_accuracy" in one
            else f"arena {readable_bytes(one['arena_bytes'])}"
        )
        results_console().print(f"{one['file']}  {readable_bytes(one['size_bytes'])}  {facts}")


def _winners(job: Job, format_: str, target: str | None) -> list[dict[str, Any]]:
    """Exports a run's winners and twins; with `native` each winner's library for the target too."""
    from hwnas.pipeline import learning
    from hwnas.pipeline.run import export_all, prepare, search_all
    from hwnas.pipeline.shipping import entry_for_target, shipments, write_entry

    with keeping(f"everything finished so far, in {job.config.folder}"), job.claimed():
        fidelities = prepare(job, progress_lines())
        net = learning.train_supernet(job)
        listed = shipments(job, search_all(job, fidelities, net), fidelities)
        exported = export_all(job, net, listed)
        made = [{**manifest, "file": str(one.artefact)} for one, manifest in exported]
        if format_ == "native":
            name = target or job.device.target
            for one, manifest in exported:
                if one.role == "winner":
                    folder = one.folder / f"native-{one.precision}-{name}"
                    made.append(_native(one.model, name, folder))
                    write_entry(one.folder, folder.name, entry_for_target(manifest, folder, name))
    return made


def _portable() -> str:
    """The target of an ONNX file where none is named: what strangers' machines have, where this one has it too."""
    from hwnas.kernels.instructions import missing_features
    from hwnas.kernels.target import parse_target, portable_target

    name = portable_target(parse_target("host").arch)
    if name is None or missing_features(parse_target(name).arch, parse_target(name).features):
        return "host"
    return name


def _native(model: Path, target: str, folder: Path, fallback: bool = False) -> dict[str, Any]:
    """One ONNX file as a native library; `target` is a device profile's name or a compiler target."""
    from hwnas.device import list_devices, load_device
    from hwnas.export.native import compile_onnx, keep_for_onnxruntime
    from hwnas.kernels.target import parse_target
    from hwnas.kernels.throughput import advice

    text = load_device(target).target if target in list_devices() or target.endswith((".yaml", ".yml")) else target
    machine = parse_target(text)  # a wrong name is refused before anything is compiled
    try:
        artefact = compile_onnx(model, text, folder)
    except CheckFailed:
        raise
    except HwnasError as refusal:
        if not fallback:
            raise
        kept = keep_for_onnxruntime(model, folder, refusal)
        progress_lines()(f"note: kept for ONNX Runtime: {refusal.message}")
        return {**kept, "file": str(folder), "size_bytes": model.stat().st_size, "arena_bytes": 0}
    agreement = artefact.manifest["agreement"]
    if not agreement["ran"]:
        progress_lines()(f"note: the outputs were not compared with ONNX Runtime's: {agreement['reason']}")
    said = advice(machine)
    if said and any(call["kind"].startswith("binary") for call in artefact.manifest["steps"]):
        progress_lines()(f"note: {said}")
    size = sum((artefact.folder / name).stat().st_size for name in artefact.files if name.endswith((".a", ".wasm")))
    return {**artefact.manifest, "file": str(artefact.folder), "size_bytes": size, "arena_bytes": artefact.arena_bytes}
