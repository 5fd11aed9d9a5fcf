"""Energy figures come from a counter that moved, with their source, or there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.measure.energy import rapl_domains, rapl_energy_uj


class Machine:
    """A powercap folder whose counters advance by so much for each run."""

    def __init__(self, root: Path, uj_per_run: int, start: int = 1000, limit: int = 10**12) -> None:
        self.counters = [root / f"intel-rapl:{i}" / "energy_uj" for i in range(2)]
        self.uj_per_run, self.limit = uj_per_run, limit
        for counter in self.counters:
            counter.parent.mkdir(parents=True)
            counter.write_text(f"{start}\n")
            (counter.parent / "max_energy_range_uj").write_text(f"{limit}\n")

    def run_us(self, repeats: int) -> float:
        for counter in self.counters:
            counter.write_text(str((int(counter.read_text()) + repeats * self.uj_per_run) % self.limit))
        return 50.0 * repeats


def test_every_package_is_counted_over_enough_runs_and_the_source_is_told(tmp_path: Path) -> None:
    energy = rapl_energy_uj(Machine(tmp_path, uj_per_run=30), 50.0, tmp_path)
    assert energy is not None
    assert energy[0] == 60.0
    assert "RAPL" in energy[1] and "2 domain(s), 2000 runs" in energy[1]


def test_a_counter_that_wraps_is_followed(tmp_path: Path) -> None:
    energy = rapl_energy_uj(Machine(tmp_path, uj_per_run=30, start=99_000, limit=100_000), 50.0, tmp_path)
    assert energy is not None
    assert energy[0] == 60.0


def test_there_is_no_figure_without_a_counter_or_with_one_that_stands_still(tmp_path: Path) -> None:
    assert rapl_energy_uj(Machine(tmp_path / "still", uj_per_run=0), 50.0, tmp_path / "still") is None
    assert rapl_energy_uj(Machine(tmp_path / "other", uj_per_run=5), 50.0, tmp_path / "none") is None


def test_core_counters_inside_a_package_are_not_counted_twice(tmp_path: Path) -> None:
    Machine(tmp_path, uj_per_run=1)
    inner = tmp_path / "intel-rapl:0:0"
    inner.mkdir()
    (inner / "energy_uj").write_text("5")
    assert [folder.name for folder in rapl_domains(tmp_path)] == ["intel-rapl:0", "intel-rapl:1"]


@pytest.mark.parametrize("text", ["", "many"])
def test_an_unreadable_counter_is_no_counter(tmp_path: Path, text: str) -> None:
    Machine(tmp_path, uj_per_run=1).counters[0].write_text(text)
    assert [folder.name for folder in rapl_domains(tmp_path)] == ["intel-rapl:1"]
