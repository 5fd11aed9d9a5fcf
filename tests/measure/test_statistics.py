"""Each statistic of a latency is graded on its own: its fit, its noise; and what an older version wrote still loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas import fidelity as module
from hwnas.device import DeviceProfile, load_device
from hwnas.engines.null import Engine as NullEngine
from hwnas.errors import HwnasError
from hwnas.fidelity import NOISE_LIMIT, read_grade, stored_fidelity, whole_nets
from hwnas.measure.fill import measure_missing
from hwnas.measure.harness import Runner, Timing
from hwnas.measure.statistics import STATISTICS, of_loads, of_samples
from hwnas.space import SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.table import LatencyTable, latency_cost, open_table

NULL = load_device("null")
OLD = Path(__file__).parents[1] / "written_by_7c13fb3"


def space() -> SearchSpace:
    return mobile(
        1, 10, resolutions=(8,), stem_stride=1, stem_width=8, widths=((8, 16), (16, 24)), depths=(1, 2), strides=(2, 1),
        kernels=(3, 5), expansions=(2,), squeeze_excite=(False,), precisions=("int8",),
    ).restrict({"*precision": ["int8"]})  # fmt: skip


def test_statistics_are_those_computed_by_hand() -> None:
    samples = [float(i) for i in range(1, 11)]
    assert [of_samples(samples, name) for name in STATISTICS] == [1.0, 5.5, 9.0, 10.0]
    assert of_samples([float(i) for i in range(1, 201)], "p99") == 198.0
    with pytest.raises(HwnasError, match="unknown statistic 'p95'; nearest: p"):
        of_samples(samples, "p95")


def test_over_loads_it_is_the_median_of_each_loads_own() -> None:
    loads = [Timing((a, a + 1.0, a + 8.0), (a, a), 3) for a in (10.0, 13.0, 11.0)]
    assert [of_loads(loads, name) for name in STATISTICS] == [11.0, 12.0, 19.0, 19.0]


class Jittery:
    """A program whose every tenth batch takes twice as long, and whose slowest runs never repeat themselves."""

    rng = np.random.default_rng(0)

    def __init__(self, exact: Runner) -> None:
        self.exact, self.calls = exact, 0

    def run_us(self, repeats: int) -> float:
        self.calls += 1
        slow = 2.0 if self.calls % 8 == 0 else 1.0
        rare = self.rng.uniform(3.0, 9.0) if self.calls % 40 == 0 else 0.0
        return self.exact.run_us(repeats) * (slow + rare)


def graded(tables: Path, monkeypatch: pytest.MonkeyPatch, device: DeviceProfile = NULL) -> module.Fidelity:
    measure_missing(
        [o for network in module.distinct_networks(space(), 20, 0) for o in network.operators],
        "tvm", device, tables, progress=False,
    )  # fmt: skip
    honest = NullEngine.open
    monkeypatch.setattr(NullEngine, "open", staticmethod(lambda artefact: Jittery(honest(artefact))))
    return whole_nets(space(), "tvm", device, tables, "int8", n_fit=10, n_test=10, progress=False)


def test_each_statistic_has_its_own_fit_and_noise_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grade = graded(tmp_path, monkeypatch)
    assert set(grade.statistics) == set(STATISTICS)
    least, p90, p99 = (grade.judged(name) for name in ("min", "p90", "p99"))
    assert least == grade.statistics["min"] and least.noise_floor == 0.0
    assert least.calibration.slope == pytest.approx(1.0) and p90.calibration.slope == pytest.approx(2.0, rel=0.01)
    assert np.array(p90.measured_us) == pytest.approx(2 * np.array(least.measured_us))
    assert p99.noise_floor > NOISE_LIMIT >= p90.noise_floor
    assert len(grade.samples) == 20 and min(grade.samples) >= 60
    assert stored_fidelity(space(), "tvm", NULL, tmp_path, "int8") == grade


def test_a_cost_in_a_statistic_sums_that_statistic_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grade = graded(tmp_path, monkeypatch)
    tables = [open_table(tmp_path, NULL, "tvm", precision) for precision in ("int8", "fp32")]
    networks = module.distinct_networks(space(), 20, seed=0)
    for name in STATISTICS:
        cost = latency_cost(tables, grade.judged(name).calibration, name)
        assert [cost(network) for network in networks] == pytest.approx(grade.judged(name).predicted_us)


def elsewhere(device: DeviceProfile, connection: str) -> DeviceProfile:
    """The same device, seen from a machine that it is not."""
    other = device.cpu.model.model_copy(update={"value": "another processor"})
    cpu = device.cpu.model_copy(update={"model": other})
    return device.model_copy(update={"connection": connection, "cpu": cpu})


@pytest.mark.parametrize("connection", ["none", "local"])
def test_copied_tables_and_cards_are_used_with_no_engine_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: str
) -> None:
    copied = elsewhere(NULL.model_copy(update={"costs": None}), connection)
    board = copied.model_copy(update={"connection": "made-up", "costs": NULL.costs})
    monkeypatch.setattr(DeviceProfile, "digest", "0123456789abcdef")
    grade = graded(tmp_path, monkeypatch, board)
    monkeypatch.undo()
    monkeypatch.setattr(DeviceProfile, "digest", "0123456789abcdef")
    again = whole_nets(space(), "tvm", copied, tmp_path, "int8", n_fit=10, n_test=10, statistic="p90", progress=False)
    assert again == grade
    with pytest.raises(HwnasError, match="is not this machine"):
        whole_nets(space(), "tvm", copied, tmp_path, "int8", n_fit=10, n_test=11, progress=False)


@pytest.fixture(scope="module")
def old_entry() -> Any:
    card = json.loads((OLD / "null" / "card.json").read_text())
    (entry,) = card["networks"].values()
    return entry


def test_a_grade_of_an_older_version_counts_as_one_of_the_minimum(old_entry: Any) -> None:
    grade = read_grade(old_entry, "card.json")
    assert grade.judged("min").measured_us == tuple(old_entry["measured_us"])
    with pytest.raises(HwnasError, match="says nothing of p90; hint: hwnas measure --refresh"):
        grade.judged("p90")


def test_tables_of_an_older_version_load_and_have_every_statistic() -> None:
    for path in sorted((OLD / "null").glob("*.csv")):
        table = LatencyTable(path)
        assert len(table)
        for operator in table.rows:
            figures = [table.latency_us(operator, name) for name in STATISTICS]
            assert figures == sorted(figures)


def changed(entry: Any, value: object, *path: str) -> Any:
    return value if not path else {**entry, path[0]: changed(entry.get(path[0], {}), value, *path[1:])}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("table", "mape"), "0.1"), (("table", "more"), 1), (("calibration", "slope"), True), (("n_fit",), 1.5),
        (("n_fit",), 0), (("measured_us",), [1.0]), (("measured_us",), "many"), (("noise_floor",), float("nan")),
        (("noise_floor",), -1.0), (("versions", "python"), 3), (("statistics",), {"p90": {}}), (("statistics",), []),
        (("samples",), ["x"]), ((), []), ((), "grade"), ((), None),
    ],
)  # fmt: skip
def test_a_grade_with_a_wrong_value_anywhere_is_refused_in_one_line(
    old_entry: Any, path: tuple[str, ...], value: object
) -> None:
    with pytest.raises(HwnasError, match=r"x\.json is not a grade: |calibration must give") as caught:
        read_grade(changed(old_entry, value, *path), "x.json")
    assert "\n" not in str(caught.value)
