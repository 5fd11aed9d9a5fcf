"""A board that fails half way, or tells what is no time: no table holds it, and a person reads why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwnas.boards import Timed, null, outcomes_of
from hwnas.cli.main import main
from hwnas.device import load_device
from hwnas.engines.null import priced
from hwnas.errors import HwnasError
from hwnas.table import LatencyTable
from tests.pipeline.runs import SETTINGS, run_file

PROGRAMS = [priced(float(i), 1.0) for i in range(1, 5)]
BOARD = '''"""halfway: tells no time from the middle of a group on."""
from dataclasses import replace
from hwnas.boards import Timed, null
from hwnas.device import load_device
from hwnas.engines import null as pricing


class Board(null.Board):
    def engine(self, name, threads, tables_dir):
        return pricing.Engine(load_device("null"))

    def time(self, programs, plan=None, quantities=("latency",), beside=()):
        found = super().time(programs, plan, quantities, beside)
        told = float(self.device.settings["told"])
        spoilt = [Timed(replace(one.timing, samples_us=(told,)), one.energy) for one in found]
        return found[: len(found) // 2] + spoilt[len(found) // 2 :]
'''


class Tells(null.Board):
    """The null device, whose outcomes somebody spoils."""

    def __init__(self, spoil: Any) -> None:
        super().__init__(load_device("null"), Path())
        self.spoil = spoil

    def time(self, programs: Any, plan: Any = None, quantities: Any = ("latency",), beside: Any = ()) -> Any:
        return self.spoil(super().time(programs, plan, quantities, beside))


def of_time(time_us: float) -> Any:
    """What makes the last outcome a time of so many microseconds."""
    return lambda found: [*found[:-1], Timed(replace(found[-1].timing, samples_us=(1.0, time_us)))]


@pytest.mark.parametrize("time_us", [float("nan"), 0.0, -1.0, float("inf")])
def test_a_time_that_is_none_is_a_failed_measurement(time_us: float) -> None:
    *good, bad = outcomes_of(Tells(of_time(time_us)), PROGRAMS)
    assert [one.timing.latency_us for one in good] == [1.0, 2.0, 3.0]  # type: ignore[union-attr]
    assert isinstance(bad, HwnasError) and f"above 0, got {time_us} us" in str(bad)


def test_what_is_neither_a_timing_nor_an_exception_is_a_failed_measurement() -> None:
    first, *_, last = outcomes_of(Tells(lambda found: [*found[:-1], None]), PROGRAMS)
    assert isinstance(first, Timed) and "a Timed or an exception, got NoneType" in str(last)


@pytest.mark.parametrize(("spoil", "count"), [(lambda found: found[:2], 2), (lambda found: found * 2, 8)])
def test_outcomes_that_are_missing_or_too_many_are_nobodys(spoil: Any, count: int) -> None:
    with pytest.raises(HwnasError, match=f"an outcome for each of 4 programs, got {count}"):
        outcomes_of(Tells(spoil), PROGRAMS[:3], beside=PROGRAMS[3:])


@pytest.mark.parametrize("told", ["nan", "-2.0"])
def test_a_table_stays_readable_whatever_a_board_tells(
    told: str, outside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (outside / "boards").mkdir()
    (outside / "boards" / "halfway.py").write_text(BOARD)
    null_profile = load_device("null").model_dump(mode="json", exclude_none=True)
    profile = {**null_profile, "name": "half", "connection": "halfway", "settings": {"told": told}}
    del profile["costs"]
    (tmp_path / "half.yaml").write_text(yaml.safe_dump(profile))
    path = run_file(
        tmp_path, device=str(tmp_path / "half.yaml"), space={**SETTINGS["space"], "in_channels": 1, "classes": 10}
    )
    assert main(["measure", str(path)]) == 2
    said = capsys.readouterr().err
    assert "blocks that could not be measured" in said and "hwnas measure --retry-failed" in said
    table = LatencyTable(tmp_path / "tables" / "half" / "onnxruntime-fp32.csv")
    rows = list(table.rows.values())
    failed = [row for row in rows if row.status != "ok"]
    assert failed and all("finite numbers above 0" in row.reason for row in failed) and len(failed) < len(rows)
