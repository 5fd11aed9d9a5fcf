"""What commit 7c13fb3 wrote (tests/fixtures/7c13fb3, made by running it on the null device) loads today, or is migrated
with one line said. `kernels` and `devices` were packages of their own then."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from hwnas.card import read_card, section
from hwnas.cli.main import main
from hwnas.device import load_device
from hwnas.fidelity import read_grade
from hwnas.paths import read_json
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from hwnas.report.results import load_results
from hwnas.table import LatencyTable, open_table

OLD = Path(__file__).parent / "fixtures" / "7c13fb3"


@pytest.fixture
def left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything, as if it lay in the folder where the commands are typed."""
    folder = tmp_path / "left"
    shutil.copytree(OLD, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", ["tvm-w1a1", "tvm-fp32", "onnxruntime-fp32"])
def test_its_tables_are_read_and_are_those_of_todays_device(name: str) -> None:
    engine, _, precision = name.partition("-")
    table = open_table(OLD / "tables", load_device("null"), engine, precision)
    assert len(table) > 0 and all(row.ok and row.latency_us > 0 for row in table.rows.values())
    assert table.header == LatencyTable(OLD / "tables" / "null" / f"{name}.csv").header


def test_its_card_is_read_and_every_grade_in_it() -> None:
    path = OLD / "tables" / "null" / "card.json"
    grades = section(read_card(path), "networks", path)
    assert len(grades) == 2 and all(read_grade(entry, key).n_test == 5 for key, entry in grades.items())


def test_its_tables_have_a_row_for_every_operator_of_its_run_file(left_behind: Path) -> None:
    job = Job(read_run_file(left_behind / "tiny.yaml"), progress=False)
    table = open_table(left_behind / "tables", job.device, "tvm", "w1a1")
    assert table.missing(job.operators_of("w1a1")) == []


def test_its_results_are_read() -> None:
    results = load_results(OLD / "runs" / "tiny")
    assert [(row.role, row.engine) for row in results.targets[0].rows] == [
        ("winner", "tvm"),
        ("fp32 twin", "onnxruntime"),
    ]


def test_its_supernet_has_the_tensors_of_todays(left_behind: Path) -> None:
    pytest.importorskip("torch")
    from hwnas.supernet import WeightSharing
    from hwnas.train import load_state, take_up

    job = Job(read_run_file(left_behind / "tiny.yaml"), progress=False)
    for path in (left_behind / "runs" / "tiny" / "supernet.pt", left_behind / "runs" / "interrupted" / "checkpoint.pt"):
        take_up(WeightSharing(job.space, job.config.seed), load_state(path), path)


def test_its_models_are_valid() -> None:
    models = sorted((OLD / "runs").rglob("*.onnx"))
    assert len(models) == 2
    for path in models:
        onnx.checker.check_model(onnx.load(path), full_check=True)


@pytest.mark.parametrize(
    ("run", "file", "reason"),
    [
        ("tiny", "supernet.pt", "an earlier version, which recorded no code: training again"),
        ("interrupted", "checkpoint.pt", "other settings, data or code: starting anew"),
    ],
)
def test_its_run_goes_on_today_with_one_line_said_about_its_weights(
    run: str, file: str, reason: str, left_behind: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old = (left_behind / "runs" / run / file).read_bytes()
    tables = {path.name: path.read_bytes() for path in (left_behind / "tables" / "null").glob("*.csv")}
    assert main(["run", f"{run}.yaml"]) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if file in line]
    assert len(said) == 1 and reason in said[0] and "the old file is kept as " in said[0]
    kept = Path(said[0].rpartition("the old file is kept as ")[2])
    assert kept.read_bytes() == old, "nothing that was trained is lost"
    for name, content in tables.items():
        rows = set((left_behind / "tables" / "null" / name).read_bytes().splitlines())
        assert rows >= set(content.splitlines()), f"a row of {name} was measured again"
    results = load_results(left_behind / "runs" / run)
    assert all(row.verified.startswith("ok") for target in results.targets for row in target.rows)


def test_its_report_is_made_again(left_behind: Path) -> None:
    assert main(["report", "runs/tiny"]) == 0
    assert "tiny" in (left_behind / "runs" / "tiny" / "report.html").read_text()
    assert read_json(left_behind / "runs" / "tiny" / "results.json") == read_json(
        OLD / "runs" / "tiny" / "results.json"
    )
