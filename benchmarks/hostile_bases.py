"""The files that benchmarks/hostile.py spoils: all of one tiny run on the null device, and what ships with hwnas."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwnas.pipeline.job import Job

REPOSITORY = Path(__file__).resolve().parent.parent
KINDS = ("onnx", "run", "profile", "table", "card", "manifest", "checkpoint", "results", "kept", "tiles")

RUN = """
name: tiny
device: "null"
seed: 3
threads: 1
data: {use: digits}
space: {use: resnet_binary, resolutions: [8], stem_width: 8, stem_stride: 2, widths: [[8, 16]],
        depths: [1, 2], strides: [2]}
train: {epochs: 1, batch_size: 256, rule: {use: "rule.single_path:SinglePath"}}
search: {budget: 6, sampler: {use: "search.random_search"}, recalibration_images: 64}
limits: {latency_us: 1000.0, size_kb: 900}
targets: [{precision: int8, engine: onnxruntime}, {precision: w1a1, engine: onnxruntime}]
card: {fit: 5, test: 5}
"""


def make(folder: Path) -> None:
    """Writes `<folder>/<kind>/...`: at least one good file of every kind."""
    folder.mkdir(parents=True, exist_ok=True)
    run_file = folder / "tiny.yaml"
    run_file.write_text(RUN + f"tables: {folder}/tables\nout: {folder}/runs\n", encoding="utf-8")
    _run(["run", str(run_file)])
    made = folder / "runs" / "tiny"
    listed: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    listed["run"] = [run_file, *sorted((REPOSITORY / "examples").glob("*.yaml"))]
    listed["profile"] = sorted((REPOSITORY / "devices").glob("*.yaml"))
    listed["table"] = sorted(folder.glob("tables/null/*.csv"))
    listed["card"] = [folder / "tables" / "null" / "card.json"]
    listed["checkpoint"] = [made / "supernet.pt"]
    listed["results"] = [made / "results.json"]
    models = sorted(made.glob("export/*/model.*.onnx"))
    listed["onnx"] = list({path.name: path for path in models}.values())
    for kind, files in listed.items():
        for number, file in enumerate(files):
            place = folder / kind / f"{number}{''.join(file.suffixes[-1:])}"
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, place)
    _make_folders(folder, made)
    _make_tiles(folder)
    _make_stage(folder, made)


def good_files(bases: Path, kind: str) -> list[Path]:
    """The good files of a kind, or the folders whose manifest is spoilt; lock files beside them left out."""
    return sorted(path for path in (bases / kind).iterdir() if not path.name.startswith("."))


def _run(arguments: list[str]) -> None:
    from hwnas.cli.main import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(arguments)
    if code:
        raise SystemExit(f"the run that makes the files to spoil ended with {code}:\n{said.getvalue()}")


def _make_folders(folder: Path, made: Path) -> None:
    """What a manifest speaks of: a native artefact, one kept for ONNX Runtime, and an export of the run."""
    from hwnas.errors import HwnasError
    from hwnas.export.native import compile_onnx, keep_for_onnxruntime

    place = folder / "manifest"
    place.mkdir(exist_ok=True)
    model = next(made.glob("export/*/model.int8.onnx"))
    compile_onnx(model, "host", place / "native")
    keep_for_onnxruntime(model, place / "kept", HwnasError("no kernel covers it"))
    shutil.copytree(model.parent, place / "export")


def kept_stage(out: Path) -> Job:
    """The job whose kept stage `STAGE` lies in `<out>/tiny`."""
    from hwnas.pipeline.config import RunFile
    from hwnas.pipeline.job import Job

    given = {"precision": "int8", "engine": "onnxruntime"}
    return Job(
        RunFile.model_validate(
            {"name": "tiny", "out": str(out), "data": {}, "space": {}, "limits": {"latency_us": 1}, "targets": [given]}
        )
    )


STAGE, STAGE_IDENTITY = "stage", ["of", "these", "settings"]


def _make_stage(folder: Path, made: Path) -> None:
    """A kept stage with what a search keeps."""
    from hwnas.paths import read_json

    searched = next(made.glob("search-*.json"))
    kept_stage(folder / "stage").keep(STAGE, STAGE_IDENTITY, read_json(searched)["value"])
    (folder / "kept").mkdir(exist_ok=True)
    shutil.copyfile(folder / "stage" / "tiny" / f"{STAGE}.json", folder / "kept" / "0.json")


def _make_tiles(folder: Path) -> None:
    from hwnas.export.native.tiles import TileTable

    (folder / "tiles").mkdir(exist_ok=True)
    table = TileTable(folder / "tiles" / "0.json", "x86-avx2")
    table.new["int8_conv 8x8x16"] = {"tile": "int8_conv_0", "ns": [410, 380]}
    table.save()
