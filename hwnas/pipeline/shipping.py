"""Stage: the winners and their fp32 twins as files: ONNX, compiled libraries, expected outputs, and the manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas import formats, ops
from hwnas.card import versions
from hwnas.device import probe_local
from hwnas.engines import Engine, engine_class
from hwnas.errors import HwnasError
from hwnas.fidelity import Fidelity
from hwnas.network import Network
from hwnas.ops.primitive import is_integer
from hwnas.paths import digest_file, read_json, write_bytes, write_json
from hwnas.pipeline import tables
from hwnas.pipeline.config import MIXED, Target
from hwnas.pipeline.identity import (
    COMPILING,
    COMPILING_AXES,
    EXPORTING,
    NOT_EXPORTING,
    code_of,
    code_outside,
    toolchain,
)
from hwnas.pipeline.job import TWIN, Job
from hwnas.pipeline.searching import Found
from hwnas.space import Architecture

MANIFEST = "manifest.json"
NATIVE = "native"  # stands for an engine where `hwnas export --format native` compiled a library beside the run's own
PREDICTED = ("latency", "energy")  # what tables tell of a file; its bytes are read from it


@dataclass(frozen=True)
class Shipped:
    """One exported file: the winner of a target, or its fp32 twin in one of the device's engines.

    `predicted_us` is of the statistic that is limited; None for a twin in an engine whose tables hold no fp32.
    `predicted_uj` is the energy, where that is limited.
    """

    target: Target
    role: str
    precision: str
    engine: str
    architecture: Architecture
    network: Network
    folder: Path
    predicted_us: float | None
    predicted_uj: float | None = None

    @property
    def model(self) -> Path:
        suffix = MIXED if self.precision == MIXED else formats.of(self.precision).suffix
        return self.folder / f"model.{suffix}.onnx"

    @property
    def artefact(self) -> Path:
        """What runs on the device: the ONNX file, or what its engine makes of that, such as a library's folder."""
        return self.folder / engine_class(self.engine).artefact_name(self.precision, self.model.name)

    @property
    def samples(self) -> Path:
        """Test examples as the model takes them, and the outputs it must give."""
        return self.folder / f"expected.{self.precision}.npz"


def shipments(job: Job, found: Sequence[Found], fidelities: Mapping[tuple[str, str], Fidelity]) -> list[Shipped]:
    """The winner of every target, and its fp32 twin in every engine of the device, with their predicted latencies."""
    listed = []
    for one in found:
        pick, target = one.result.pick.architecture, one.target
        roles: list[tuple[str, str, str, Architecture]] = [("winner", target.precision, target.engine, pick)]
        # The engine whose twin is predicted comes first. An fp32 winner is its own twin in its own engine.
        engines: list[str] = sorted(job.device.engines, key=lambda name: name != job.twin_engine)
        twins = [engine for engine in engines if (target.precision, target.engine) != (TWIN, engine)]
        roles += [("fp32 twin", TWIN, engine, job.twin_of(pick)) for engine in twins]
        for role, precision, engine, architecture in roles:
            network = job.space.lower(architecture)
            predicted: dict[str, float] = {}
            if (precision, engine) in fidelities:
                line = tables.priced(job, precision, engine, fidelities[precision, engine])
                predicted = {name: float(cost(network)) for name, cost in line.costs.items() if name in PREDICTED}
            folder = job.path("export", target.name)
            costs = predicted.get("latency"), predicted.get("energy")
            listed.append(Shipped(target, role, precision, engine, architecture, network, folder, *costs))
    return listed


# -- export ----------------------------------------------------------------------------------------------------


def export(job: Job, net: Any, shipped: Shipped) -> dict[str, Any]:
    """Writes the ONNX file, what the engine makes of it, and the expected outputs; returns the manifest's entry.

    A file of the same weights, architecture and code is kept as long as it is what it was; so is a library of the same
    model, compiler and choices of the engine's own.
    """
    from hwnas.pipeline import learning

    identity = [
        learning.identity(job), job.config.train.finetune_epochs, job.config.search.recalibration_images,
        dict(shipped.architecture), shipped.precision, weight_bits(job),
    ]  # fmt: skip
    code = code_of(EXPORTING, NOT_EXPORTING)
    entry = _kept(job, shipped, shipped.model.name, identity, code, lambda: _write_model(job, net, shipped))
    files = dict(entry["files"])
    if shipped.artefact != shipped.model:
        made_from, target = files[shipped.model.name], job.device.target
        engine = engine_class(shipped.engine)(job.device, job.config.threads, job.config.tables)
        by = (
            code_of(COMPILING)
            | code_outside(*COMPILING_AXES)
            | (toolchain(target) if engine.compiles else dict(engine.sources()))
        )
        compiled = _kept(
            job, shipped, shipped.artefact.name, [made_from, target], by, lambda: _build(engine, shipped, target),
            lambda kept: "choices" in kept and kept["choices"] == engine.choices(kept["choices"]),
        )  # fmt: skip
        files |= compiled["files"]
    about = {"engine": shipped.engine, "role": shipped.role, "predicted_us": shipped.predicted_us}
    device = {"name": job.device.name, "digest": job.device.digest, "target": job.device.target}
    entry = {**entry, **about, "device": device, "files": files}
    known = entries_of(shipped.folder).get(shipped.artefact.name, {})
    if known.get("files") == files and known.get("device") == device:
        entry = {**known, **entry}  # what was measured there on these very files stays
    write_entry(shipped.folder, shipped.artefact.name, entry)
    return entry


def _kept(
    job: Job,
    shipped: Shipped,
    name: str,
    identity: Any,
    code: Mapping[str, str],
    make: Callable[[], dict[str, Any]],
    current: Callable[[dict[str, Any]], bool] = lambda kept: True,
) -> dict[str, Any]:
    """What was made before, is still what it was and is `current`, or what `make` makes now; a note where files were
    altered."""
    stage = f"export/{shipped.target.name}/{name}"
    kept = job.kept(stage, identity, code)
    if kept is not None and current(kept):
        wrong = [file for file, known in kept["files"].items() if not _is(shipped.folder / file, known)]
        if not wrong:
            return dict(kept)
        job.note(f"{shipped.folder / wrong[0]} is not what was exported (altered or gone): exporting again")
        for path in (shipped.folder / file for file in wrong):
            if path.is_file():  # a person may have altered it on purpose
                job.note(f"the altered file is kept as {job.set_aside(path, digest_file(path))}")
        _clear(shipped, kept["files"])
    with job.stage("export"):
        made = make()
    job.keep(stage, identity, made, code, replace=True)
    return made


def _is(path: Path, known: str) -> bool:
    return path.is_file() and digest_file(path) == known


def _clear(shipped: Shipped, files: Mapping[str, str]) -> None:
    """Removes a library's folder where nothing but files that this run wrote is left in it."""
    folder = shipped.artefact
    ours = {Path(name).name for name in files if Path(name).parent.name == folder.name}
    if folder.is_dir() and all(path.is_file() and path.name in ours for path in folder.iterdir()):
        shutil.rmtree(folder)


def files_of(shipped: Shipped) -> list[str]:
    """Every file that an artefact consists of, by its path below the export's folder: what is there now."""
    held = sorted(shipped.artefact.iterdir()) if shipped.artefact.is_dir() else []
    return [shipped.model.name, *(f"{shipped.artefact.name}/{path.name}" for path in held if path.is_file())]


def write_entry(folder: Path, name: str, entry: Mapping[str, Any]) -> None:
    """One artefact's entry in the folder's manifest, the others left as they are; entries of what is gone go."""
    kept = {known: value for known, value in entries_of(folder).items() if (folder / known).exists()}
    write_json(folder / MANIFEST, {**kept, name: dict(entry)})


def entries_of(folder: Path) -> dict[str, Any]:
    """The entries of a folder's manifest, by artefact; HwnasError where it is none."""
    path = folder / MANIFEST
    entries = read_json(path) if path.exists() else {}
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise HwnasError(f"{path} must hold an entry a file", hint="move it away and run the command again")
    return entries


def _write_model(job: Job, net: Any, shipped: Shipped) -> dict[str, Any]:
    from hwnas.export.expected import Expected
    from hwnas.export.onnx import to_onnx
    from hwnas.export.quantise import calibrate, fold
    from hwnas.export.recipe import with_record
    from hwnas.export.verify import tolerance_for
    from hwnas.pipeline import learning, raw_images

    deployable = learning.deployable(job, net, shipped.architecture)
    ready, network = deployable.net, shipped.network
    chosen = learning.verified(job, network)
    inputs, targets = raw_images.inputs(job, network, "test", chosen), job.data.targets("test")[chosen]
    constants = {**ready.arrays(), **raw_images.data_constants(job, network)}
    seen = raw_images.typical_inputs(job, network)
    quantised = calibrate(fold(ready.network, constants), seen, weight_bits=weight_bits(job))
    expected = quantised(inputs)
    preprocess = raw_images.preprocess_record(job, network)
    exported = to_onnx(quantised)
    bounds = {"onnx": asdict(tolerance_for(quantised)), "native": asdict(tolerance_for(quantised, library=True))}
    shipped_model = with_record(exported, preprocess) if preprocess else exported
    write_bytes(shipped.model, shipped_model.SerializeToString())
    Expected(inputs, targets, expected, bounds).write(shipped.samples)
    return {
        "format": 2,
        "name": job.config.name,
        "precision": shipped.precision,
        "architecture": dict(shipped.architecture),
        **raw_images.ends_record(job, network),
        "preprocess": preprocess,
        "task": dict(job.config.task),
        "trained_further": deployable.record,
        "tolerance": bounds,
        "samples": shipped.samples.name,
        "int8": _integer_facts(shipped, weight_bits(job)),
        "float_accuracy": learning.judge(job, ready, "test", chosen).accuracy,
        "expected_accuracy": job.task.reduce(job.task.statistics(expected, targets)),
        "size_bytes": shipped.model.stat().st_size,
        "peak_bytes": ops.network_peak_bytes(shipped.network),
        "files": {name: digest_file(shipped.folder / name) for name in (shipped.model.name, shipped.samples.name)},
        "versions": versions(),
    }


def _build(engine: Engine, shipped: Shipped, target: str) -> dict[str, Any]:
    """What the engine makes of the model, by its files, and the choices of its own that went into it."""
    made = engine.build(shipped.model, target, shipped.artefact)
    return {
        "files": {name: digest_file(shipped.folder / name) for name in files_of(shipped)[1:]},
        "choices": made.options.get("choices", {}),
    }


def weight_bits(job: Job) -> int:
    """7-bit weights where u8 x s8 multiply-adds saturate (x86 without VNNI), be it the device or this machine, which
    verifies the file (and answers for a made-up device); 8 bits elsewhere."""
    here = probe_local()
    return 7 if any(_saturates(device.target, device.cpu.isa.value) for device in (job.device, here)) else 8


def _saturates(target: str, isa: Sequence[str]) -> bool:
    """Whether a CPU with these instructions, named as Linux does, sums products of bytes in 16 bits; one of which
    nothing is told does not."""
    from hwnas.kernels.target import architecture_told

    isa = [name.lower() for name in isa]  # a profile is written by hand
    known = architecture_told(target, isa)
    if known is None or known.sums_bytes is None:
        return False
    return not any(known.instructions[name].linux in isa for name in known.sums_bytes)


def entry_for_target(entry: Mapping[str, Any], folder: Path, target: str) -> dict[str, Any]:
    """The manifest's entry of a library for another target, made from the same model: same samples, same bounds."""
    ends = ("input", "inputs", "preprocess", "output", "outputs")
    about = ("format", "name", "precision", "role", "architecture", *ends, "task", "tolerance", "samples", "int8")
    files = {f"{folder.name}/{path.name}": digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    return {**{key: entry[key] for key in about if key in entry}, "engine": NATIVE, "target": target, "files": files}


def _integer_facts(shipped: Shipped, bits: int) -> dict[str, Any] | None:
    """How wide integer weights are at most, and where ONNX Runtime computes them exactly; None without any."""
    if not any(is_integer(layer) for _, layer in shipped.network.layers()):
        return None
    everywhere = "every CPU: two products of u8 x s7 stay within 16 bits"
    where = "ARM, and x86 with VNNI; older x86 saturates sums of two products at 16 bits, and its outputs differ"
    return {"weight_bits": bits, "exact_on": everywhere if bits == 7 else where}
