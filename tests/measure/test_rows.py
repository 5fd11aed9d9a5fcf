"""Rows of several loads: the minimum over all, every sample kept, and loads that disagree are not the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.boards.null import Board as NullBoard
from hwnas.device import DeviceProfile, load_device
from hwnas.engines import Artefact
from hwnas.engines.null import Engine as NullEngine
from hwnas.engines.null import priced
from hwnas.measure import fill
from hwnas.measure.backend import Backend
from hwnas.measure.fill import MOST_LOADS, measure_missing
from hwnas.measure.harness import Timing
from hwnas.measure.rows import LEAST_SHARE, Load, disagreement, row_of
from hwnas.network import Operator
from hwnas.table import open_table

BLOCK = Operator.of("conv_bn_act", (3, 8, 8), (8, 8, 8), kernel=3, stride=1, activation="relu")


def load(samples: tuple[float, ...], overhead_us: float = 0.0) -> Load:
    return Load(Timing(samples, (min(samples), min(samples)), 10 * len(samples)), overhead_us, 25.0, None)


def test_a_row_takes_the_minimum_over_its_loads_less_the_smallest_baseline() -> None:
    row = row_of(BLOCK, [load((14.0, 13.0), 2.5), load((10.0, 11.0, 12.0), 2.0)], "engine 1", "now")
    assert (row.latency_us, row.p50_us, row.p90_us) == (8.0, 10.0, 12.0)
    assert row.samples_us == (14.0, 13.0, 10.0, 11.0, 12.0)
    assert (row.runs, row.overhead_us) == (50, 2.0)
    assert row.spread == pytest.approx(0.3)


def test_a_block_cheaper_than_its_baseline_still_costs_something() -> None:
    row = row_of(BLOCK, [load((1.9, 2.1), 2.0)], "engine 1", "now")
    assert row.latency_us == pytest.approx(LEAST_SHARE * 2.0)


def test_disagreement_is_between_the_two_best_loads() -> None:
    assert disagreement([load((10.0,)), load((20.0,)), load((11.0,))]) == pytest.approx(0.1)
    assert disagreement([load((10.0,))]) == 0.0


class Unlucky(NullEngine):
    """The null device whose first loads of every block are slow for as long as they live."""

    def __init__(self, device: DeviceProfile, slow_loads: int) -> None:
        super().__init__(device)
        self.left, self.loads = slow_loads, 0

    def block(self, operator: Operator, folder: Path) -> Artefact:
        exact = super().block(operator, folder)
        self.loads += 1
        self.left -= 1
        # every unlucky load is slow in its own way
        if self.left < 0:
            return exact
        return priced(exact.options["latency_us"] * (1.3 + 0.1 * self.left), exact.options["energy_uj"])


@pytest.mark.parametrize(("slow_loads", "loads"), [(0, 2), (1, 3), (2, 4), (3, MOST_LOADS)])
def test_a_block_is_loaded_until_its_two_best_loads_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_loads: int, loads: int
) -> None:
    null = load_device("null")
    engine = Unlucky(null, slow_loads)
    monkeypatch.setattr(fill, "backend_for", lambda *_: Backend(engine, NullBoard(null, tmp_path)))
    report = measure_missing([BLOCK], "tvm", null, tmp_path, progress=False)
    exact = NullEngine(null).block(BLOCK, tmp_path).options["latency_us"]
    assert open_table(tmp_path, null, "tvm", "fp32").latency_us(BLOCK) == exact
    assert (engine.loads, report.repeated) == (loads, loads - 2)
