"""Measuring from a run file: what is said beforehand, what is measured again, what needs no data set and no device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hwnas.boards.null import Board as NullBoard
from hwnas.cli.main import main
from hwnas.device import load_device
from hwnas.engines import Artefact
from hwnas.engines.null import Engine as NullEngine
from hwnas.engines.null import priced
from hwnas.errors import HwnasError
from hwnas.measure import fill
from hwnas.measure.backend import Backend
from hwnas.network import Operator
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.facts import given_facts
from hwnas.pipeline.job import Job
from hwnas.table import LatencyTable
from tests.pipeline.runs import SETTINGS, run_file

SPACE = SETTINGS["space"] | {"in_channels": 1, "classes": 10, "widths": [[8, 16, 24]], "depths": [1, 2, 3]}
WIDE = {"use": "mobile", "in_channels": 3, "classes": 10, "resolutions": [32, 64], "widths": [[16, 24], [32, 40]],
        "depths": [1, 2], "strides": [2, 2], "precisions": ["int8", "fp32"]}  # fmt: skip


def measure(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> Any:
    assert main(["measure", str(path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_measuring_reads_no_data_set_where_the_space_says_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, changes in enumerate(
        ({"data": None, "space": SPACE}, {"data": {"use": "folder", "path": "/nowhere"}, "space": SPACE},
         {"data": {"facts": {"in_channels": 1, "classes": 10}}})
    ):  # fmt: skip
        done = measure(capsys, run_file(tmp_path / str(number), card={"fit": 5, "test": 5}, **changes))
        assert all(line["measured"] > 0 for line in done["lines"])


def test_a_data_set_that_is_not_as_the_run_file_says_is_refused(tmp_path: Path) -> None:
    job = Job(read_run_file(run_file(tmp_path, space=SPACE | {"classes": 7})))
    assert job.space.classes == 7
    with pytest.raises(HwnasError, match="the run file says classes 7, the data set has 10"):
        _ = job.data


@pytest.mark.parametrize(
    ("data", "space", "message"),
    [
        ({"facts": []}, {}, "data.facts must be a mapping"),
        ({"facts": {"channels": 3}}, {}, "data.facts: unknown key 'channels'; nearest: in_channels"),
        ({}, {"classes": "ten"}, "classes must be a whole number from 1"),
        ({}, {"classes": True}, "classes must be a whole number"),
        ({}, {"in_channels": 0}, "in_channels must be a whole number"),
        ({}, {"image_size": [1, 2, 3]}, r"image_size must be \[height, width\]"),
        ({"facts": {"classes": 3}}, {"classes": 4}, "classes is 4 under space and 3 under data.facts"),
    ],
)
def test_a_fact_that_is_none_is_refused(data: dict[str, Any], space: dict[str, Any], message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        given_facts(data, space)


def test_facts_are_counts_and_a_size_of_one_or_two_sides() -> None:
    given = given_facts({"facts": {"in_channels": 3}}, {"classes": 10, "image_size": 32})
    assert given == {"in_channels": 3, "classes": 10, "image_size": (32, 32)}
    assert given_facts({}, {"image_size": [32, 48]}) == {"image_size": (32, 48)}


def test_a_dry_run_says_how_many_rows_and_how_long_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_file(tmp_path, data=None, space=WIDE)
    works = measure(capsys, path, "--dry-run")
    assert [work["precision"] for work in works] == ["int8", "fp32"]
    for work in works:
        assert work["rows"] > 60 and work["seconds"] > 0 and work["sampled"] == 8
        assert work["wanted"] == work["rows"] + 12
    assert sum(len(LatencyTable(table)) for table in tmp_path.rglob("*.csv")) == 24
    card = json.loads((tmp_path / "tables" / "null" / "card.json").read_text())
    assert "networks" not in card
    assert main(["measure", str(path), "--dry-run"]) == 0
    assert "rows to measure, about" in capsys.readouterr().out


def test_measuring_says_rows_and_time_beforehand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_file(tmp_path, data=None, space=WIDE, card={"fit": 5, "test": 5})
    assert main(["measure", str(path), "--json"]) == 0
    printed = capsys.readouterr()
    assert "rows to measure, about" in printed.err and "at the pace of 8 rows timed just now" in printed.err
    lines = {line["precision"]: line for line in json.loads(printed.out)["lines"]}
    job = Job(read_run_file(path))
    assert {p: line["measured"] + line["reused"] for p, line in lines.items()} == {
        p: len(job.operators_of(p)) for p in lines
    }
    assert lines["int8"]["reused"] == 0


class Picky(NullEngine):
    """The null device under another engine version, which cannot run blocks with a 5x5 kernel."""

    broken = True

    def block(self, operator: Operator, folder: Path) -> Artefact:
        if self.broken and dict(operator.attributes).get("kernel") == 5:
            raise RuntimeError("no kernel for 5x5")
        return super().block(operator, folder)

    def network(self, network: Any, seed: int, folder: Path) -> Artefact:
        blocks = [super(Picky, self).block(o, folder) for o in network.operators]
        return priced(float(sum(block.options["latency_us"] for block in blocks)), 1.0)


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch) -> type[Picky]:
    null = load_device("null")
    monkeypatch.setattr(Picky, "broken", True)
    monkeypatch.setattr(fill, "backend_for", lambda *given: Backend(Picky(null), NullBoard(null, given[3])))
    monkeypatch.setattr("hwnas.fidelity.backend_for", lambda *given: Backend(Picky(null), NullBoard(null, given[3])))
    return Picky


def test_what_cannot_be_measured_is_left_out_with_one_line_and_can_be_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], picky: type[Picky]
) -> None:
    path = run_file(tmp_path, data=None, space=SPACE, card={"fit": 5, "test": 5})
    first = measure(capsys, path)
    assert all(line["failed"] > 0 for line in first["lines"])
    low, high = first["reachable"]["int8-onnxruntime"]["latency"]
    assert 0 < low < high < 1e6
    assert measure(capsys, path)["lines"][0]["measured"] == 0
    picky.broken = False
    again = measure(capsys, path, "--retry-failed")
    assert [line["failed"] for line in again["lines"]] == [0, 0]
    assert again["lines"][0]["measured"] == first["lines"][0]["failed"]
    assert again["reachable"]["int8-onnxruntime"]["latency"][1] > high


def test_a_search_never_picks_what_cannot_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], picky: type[Picky]
) -> None:
    path = run_file(tmp_path, space=SPACE, card={"fit": 5, "test": 5})
    assert main(["search", str(path), "--json"]) == 0
    printed = capsys.readouterr()
    assert "no architecture with a failed block is picked" in printed.err
    (found,) = json.loads(printed.out)
    kernels = [value for name, value in found["pick"]["architecture"].items() if name.endswith("kernel")]
    assert kernels and found["scored"] > 0
    job = Job(read_run_file(path))
    picked = job.space.lower(job.space.architecture(found["pick"]["architecture"]))
    assert all(dict(operator.attributes).get("kernel") != 5 for operator in picked.operators)


def test_refreshing_measures_every_row_once_and_sets_the_old_ones_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(tmp_path, data=None, space=SPACE, card={"fit": 5, "test": 5})
    first = measure(capsys, path)
    rows = {table.name: set(LatencyTable(table).rows) for table in (tmp_path / "tables" / "null").glob("*.csv")}
    again = measure(capsys, path, "--refresh")
    assert [line["measured"] for line in again["lines"]] == [line["measured"] for line in first["lines"]]
    earlier = tmp_path / "tables" / "null" / "earlier"
    assert {f"{name[:-4]}.null-1.csv" for name in rows} == {table.name for table in earlier.glob("*.csv")}
    for name, operators in rows.items():
        assert set(LatencyTable(earlier / f"{name[:-4]}.null-1.csv").rows) == operators
    assert main(["measure", str(path), "--refresh", "--keep-stale"]) == 2


@pytest.mark.parametrize("option", ["run file", "command line"])
def test_rows_of_another_engine_version_stay_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    changes = {"keep_stale": True} if option == "run file" else {}
    path = run_file(tmp_path, data=None, space=SPACE, card={"fit": 5, "test": 5}, **changes)
    measure(capsys, path)
    monkeypatch.setattr(NullEngine, "version", "null 2")
    kept = measure(capsys, path, *([] if option == "run file" else ["--keep-stale"]))
    assert [line["measured"] for line in kept["lines"]] == [0, 0]
    path = run_file(tmp_path, data=None, space=SPACE, card={"fit": 5, "test": 5})
    assert all(line["measured"] > 0 for line in measure(capsys, path)["lines"])


@pytest.mark.slow
def test_a_board_is_searched_for_from_a_laptop_with_two_things_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board is this machine; then the very same files are read by a machine whose processor is another."""
    board = tmp_path / "board.yaml"
    assert main(["devices", "probe", "--name", "board"]) == 0
    board.write_text(capsys.readouterr().out)
    path = run_file(tmp_path, data=None, space=SPACE, card={"fit": 5, "test": 5}, device=str(board))
    measured = measure(capsys, path)
    assert (tmp_path / "tables" / "board" / "card.json").exists()

    here = load_device("local")
    model = here.cpu.model.model_copy(update={"value": "a laptop's processor"})
    laptop = here.model_copy(update={"cpu": here.cpu.model_copy(update={"model": model})})
    monkeypatch.setattr("hwnas.probe.probe_local", lambda: laptop)
    for builds in ("block", "network", "open"):  # nothing is built or run there
        monkeypatch.setattr(f"hwnas.engines.onnxruntime.Engine.{builds}", None)
    again = measure(capsys, path)
    assert [line["measured"] for line in again["lines"]] == [0, 0]
    assert again["reachable"] == measured["reachable"]
    assert [work["rows"] for work in measure(capsys, path, "--dry-run")] == [0, 0]
    path = run_file(tmp_path, space=SPACE, card={"fit": 5, "test": 5}, device=str(board))
    assert main(["search", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["scored"] > 0

    wider = run_file(tmp_path, data=None, space=SPACE | {"kernels": [3, 5, 7]}, device=str(board))
    assert main(["measure", str(wider)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "device board is not this machine, which differs: processor a laptop's processor, not" in said


def test_a_space_too_small_to_be_graded_is_refused_before_a_row_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = SPACE | {"widths": [[8]], "depths": [1], "kernels": [3, 5]}
    for number, options in enumerate(([], ["--dry-run"])):
        path = run_file(tmp_path / str(number), space=small, card={"fit": 5, "test": 5})
        assert main(["measure", str(path), *options]) == 2
        assert "different networks; grading takes at least 8" in capsys.readouterr().err
        assert not list((path.parent / "tables").rglob("*.csv"))
