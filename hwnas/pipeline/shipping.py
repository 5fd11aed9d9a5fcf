"""Stages after the search: export the winners and their fp32 twins, verify the files, time them again on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas import __version__, ops
from hwnas.card import versions
from hwnas.device import probe_local
from hwnas.errors import CheckFailed, HwnasError
from hwnas.fidelity import Fidelity
from hwnas.measure.backend import tiles_path
from hwnas.measure.harness import Timing, measure_together
from hwnas.network import Network
from hwnas.paths import digest_file, read_json, write_bytes, write_json
from hwnas.pipeline import tables
from hwnas.pipeline.config import Target
from hwnas.pipeline.job import TWIN, Job
from hwnas.pipeline.searching import Found
from hwnas.space import Architecture

FILE_NAMES = {
    "fp32": "model.fp32.onnx",
    "int8": "model.int8.onnx",
    "w1a1": "model.binary.onnx",
    "mixed": "model.mixed.onnx",
}


LOADS = 3  # where an engine's memory happens to lie can slow a file for as long as it stays loaded


@dataclass(frozen=True)
class Shipped:
    """One exported file: the winner of a target, or its fp32 twin."""

    target: Target
    role: str
    precision: str
    engine: str
    architecture: Architecture
    network: Network
    folder: Path
    predicted_us: float

    @property
    def model(self) -> Path:
        return self.folder / FILE_NAMES[self.precision]

    @property
    def artefact(self) -> Path:
        """What runs on the device: the ONNX file, or the folder of the compiled library."""
        return self.folder / f"native-{self.precision}" if self.engine == "tvm" else self.model

    @property
    def samples(self) -> Path:
        """Test images at the model's resolution and the outputs it must give."""
        return self.folder / f"expected.{self.precision}.npz"


def shipments(job: Job, found: Sequence[Found], fidelities: dict[tuple[str, str], Fidelity]) -> list[Shipped]:
    """The winner and the fp32 twin of every target, with their predicted latencies."""
    listed = []
    for one in found:
        pick, target = one.result.pick.architecture, one.target
        roles: list[tuple[str, str, str, Architecture]] = [("winner", target.precision, target.engine, pick)]
        if (target.precision, target.engine) != (TWIN, job.twin_engine):
            roles.append(("fp32 twin", TWIN, job.twin_engine, job.twin_of(pick)))
        for role, precision, engine, architecture in roles:
            network = job.space.lower(architecture)
            line = tables.priced(job, precision, engine, fidelities[precision, engine])
            predicted = float(line.costs["latency"](network))
            folder = job.path("export", target.name)
            listed.append(Shipped(target, role, precision, engine, architecture, network, folder, predicted))
    return listed


# -- export ----------------------------------------------------------------------------------------------------


def export(job: Job, net: Any, shipped: Shipped) -> dict[str, Any]:
    """Writes the ONNX file, for `tvm` the compiled library, and the expected outputs; returns the manifest.

    An export of the same weights, architecture and versions is kept.
    """
    import onnxruntime  # the versions in the manifest are of what will run the file

    from hwnas.pipeline import learning

    identity = [
        learning.identity(job), job.config.train.finetune_epochs, job.config.search.recalibration_images,
        dict(shipped.architecture),
        shipped.precision, shipped.engine, job.device.target, __version__, onnxruntime.__version__,
    ]  # fmt: skip
    name = f"export/{shipped.target.name}/{shipped.precision}"
    kept = job.kept(name, identity)
    if kept is not None and shipped.model.exists() and digest_file(shipped.model) == kept["files"][shipped.model.name]:
        return dict(kept)
    with job.stage("export"):
        manifest = _export(job, net, shipped)
    job.keep(name, identity, manifest)
    return manifest


def _export(job: Job, net: Any, shipped: Shipped) -> dict[str, Any]:
    import io

    from hwnas.export.onnx import to_onnx
    from hwnas.export.quantise import calibrate, fold
    from hwnas.export.verify import tolerance_for
    from hwnas.pipeline import learning
    from hwnas.supernet import resize

    deployable = learning.deployable(job, net, shipped.architecture)
    ready = deployable.net
    shape = shipped.network.input_shape
    seen = np.concatenate([resize(images, shape).numpy() for images in learning.typical(job)])
    chosen = learning.verified(job, shape)
    test = job.data.batch("test", chosen)
    images, labels = resize(test.images, shape).numpy(), test.labels
    quantised = calibrate(fold(ready.network, ready.arrays()), seen, weight_bits=weight_bits(job))
    expected = quantised(images)
    write_bytes(shipped.model, to_onnx(quantised).SerializeToString())
    buffer = io.BytesIO()
    np.savez(buffer, images=images, labels=labels.numpy(), expected=expected)
    write_bytes(shipped.samples, buffer.getvalue())
    files = {shipped.model.name: digest_file(shipped.model)}
    if shipped.engine == "tvm":
        from hwnas.export.native import compile_onnx

        tiles = tiles_path(job.config.tables, job.device)
        compile_onnx(shipped.model, job.device.target, shipped.artefact, tiles=tiles)
        files |= {
            f"{shipped.artefact.name}/{p.name}": digest_file(p)
            for p in sorted(shipped.artefact.iterdir())
            if p.is_file()
        }
    return {
        "format": 1,
        "name": job.config.name,
        "precision": shipped.precision,
        "engine": shipped.engine,
        "role": shipped.role,
        "device": {"name": job.device.name, "digest": job.device.digest, "target": job.device.target},
        "architecture": dict(shipped.architecture),
        "input": {
            "shape": [1, *shipped.network.input_shape],
            "layout": "NCHW",
            "mean": job.data.mean,
            "std": job.data.std,
            "resize": list(shape[1:]),
        },
        "output": {"shape": [1, len(job.data.classes)], "classes": list(job.data.classes)},
        "trained_further": deployable.record,
        "tolerance": asdict(tolerance_for(quantised)),
        "float_accuracy": learning.evaluate(ready, job.data, "test", chosen).accuracy,
        "expected_accuracy": float((expected.reshape(len(expected), -1).argmax(1) == labels.numpy()).mean()),
        "predicted_us": shipped.predicted_us,
        "size_bytes": shipped.model.stat().st_size,
        "weight_bytes": sum(ops.weight_bytes(o) for o in shipped.network.operators),
        "peak_bytes": max(ops.peak_bytes(o) for o in shipped.network.operators),
        "files": files,
        "versions": versions(),
    }


def weight_bits(job: Job) -> int:
    """7-bit weights where u8 x s8 multiply-adds saturate: on x86 without VNNI, be it the device or this machine, which
    verifies the file (and answers for a made-up device); 8 bits elsewhere."""
    here = probe_local()
    return 7 if any(_saturates(device.target, device.cpu.isa.value) for device in (job.device, here)) else 8


def _saturates(target: str, isa: Sequence[str]) -> bool:
    flags = " ".join(isa).lower()
    x86 = "x86" in target or (target == "host" and ("avx" in flags or "sse" in flags))
    return x86 and "vnni" not in flags


# -- verify ----------------------------------------------------------------------------------------------------


def verify(job: Job, shipped: Shipped, manifest: dict[str, Any]) -> dict[str, Any]:
    """Runs the exported file on the test images in a fresh process without hwnas; CheckFailed when outputs differ."""
    from hwnas.export.verify import Tolerance
    from hwnas.export.verify import verify as verify_file

    identity = [manifest["files"], shipped.engine]
    name = f"export/{shipped.target.name}/verified-{shipped.precision}"
    kept = job.kept(name, identity)
    if kept is not None:
        return dict(kept)
    with job.stage("verify"):
        with np.load(shipped.samples) as samples:
            images, labels, expected = (samples[key] for key in ("images", "labels", "expected"))
        tolerance = Tolerance(**manifest["tolerance"])
        # What runs on the device comes first; the ONNX file that it was compiled from must hold as well.
        files = dict.fromkeys((shipped.artefact, shipped.model))
        checked = [verify_file(file, images, labels, expected, tolerance) for file in files]
    for file, result in zip(files, checked, strict=True):
        if not result.ok:
            raise CheckFailed(f"{file} does not give the quantised module's outputs: {result}")
    record = checked[0].record() | {"summary": "; ".join(map(str, checked))}
    job.keep(name, identity, record)
    return record


# -- time again ------------------------------------------------------------------------------------------------


def time_again(job: Job, shipped: Sequence[Shipped]) -> list[Timing]:
    """The exported files on the device, interleaved, each loaded afresh `LOADS` times (see docs/measurement.md)."""
    from hwnas.measure.deployed import deployed_runner

    config = job.config
    taken: list[list[Timing]] = [[] for _ in shipped]
    with job.stage("time"):
        for _ in range(LOADS):
            loaded = [deployed_runner(s.engine, s.artefact, s.network, job.device, config.threads) for s in shipped]
            for one, timings, outcome in zip(shipped, taken, measure_together(loaded), strict=True):
                if isinstance(outcome, Exception):
                    raise HwnasError(f"{one.artefact} could not be timed: {outcome}")
                timings.append(outcome)
    return [joined(timings) for timings in taken]


def joined(timings: Sequence[Timing]) -> Timing:
    """All loads of one file as one timing."""
    samples = [sample for timing in timings for sample in timing.samples_us]
    minima = [least for timing in timings for least in timing.round_minima_us]
    return Timing(tuple(samples), tuple(minima), sum(timing.runs for timing in timings))


def over_limit(job: Job, shipped: Shipped, timing: Timing) -> str | None:
    """By how much a winner's measured latency is above the limit, in words; None where it is within."""
    limit = job.config.cost_limits.get("latency")
    if limit is None or shipped.role != "winner" or timing.latency_us <= limit:
        return None
    return above_limit(shipped.target.name, timing.latency_us, limit)


def above_limit(name: str, measured_us: float, limit_us: float) -> str:
    """The one sentence for a breach, wherever it is told."""
    excess = measured_us - limit_us
    above = f"{excess:.1f} us ({excess / limit_us:.1%}) above the limit of {limit_us:.1f} us"
    return f"{name} takes {measured_us:.1f} us, {above}"


def write_manifest(shipped: Shipped, manifest: dict[str, Any], verified: dict[str, Any], timing: Timing) -> None:
    """`manifest.json` beside the models: one entry a file, predicted and measured."""
    path = shipped.folder / "manifest.json"
    entries = read_json(path) if path.exists() else {}
    measured = {"measured_us": timing.latency_us, "p50_us": timing.p50_us, "p90_us": timing.p90_us, "runs": timing.runs}
    entries[shipped.precision] = {**manifest, "accuracy": verified["accuracy"], "verified": verified, **measured}
    write_json(path, entries)


def fail_over_limit(messages: Sequence[str]) -> None:
    """CheckFailed with every breach, after everything else was written."""
    if messages:
        raise CheckFailed("; ".join(messages), hint="run again on an idle machine, or lower the limit")
