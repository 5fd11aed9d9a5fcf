"""The comparison of TangleNAS: rivals cost what the found net costs, figures are kept, the page says what they say."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas import ops
from hwnas.spaces.mobile import mobile


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("tanglenas")


def space() -> Any:
    return mobile(
        3, 10, [16], 12, 1, [[16, 20, 24], [28, 36, 44]], (1, 2), (1, 2), (3, 5), (2, 3, 4), (False,), ("fp32",)
    )


@pytest.mark.parametrize("seed", range(3))
def test_random_rivals_are_other_networks_of_nearly_the_same_cost(benchmark: Any, seed: int) -> None:
    found = space().random(np.random.default_rng(seed))
    rivals = benchmark.near(space(), found, seed)
    nets = [space().lower(one) for one in (found, *rivals)]
    costs = [sum(map(ops.macs, net.operators)) for net in nets]
    assert len(rivals) == 2 and len(set(nets)) == 3
    assert costs[1:] == pytest.approx([costs[0]] * 2, rel=0.06)


def seed_of(benchmark: Any, found: float, others: float) -> dict[str, Any]:
    own: dict[str, Any] = {name: {"test": others, "macs": 1e6, "seconds": 1.0} for name in benchmark.NETS}
    own[benchmark.FOUND] = {"test": found, "macs": 5e5, "seconds": 1.0}
    own["tangled"] = {"architecture": dict(space().largest()), "entropy": 0.5, "seconds": 7.0}
    own["evolved"] = {"architecture": dict(space().largest()), "scored": 3, "seconds": 3.0}
    return own


@pytest.mark.parametrize(
    ("gains", "told"),
    [((2.0, 2.1, 1.9), "beats"), ((-2.0, -2.1, -1.9), "is beaten by"), ((1.0, -1.0, 0.5), "is not told apart from")],
)
def test_the_page_claims_what_its_interval_leaves(benchmark: Any, gains: tuple[float, ...], told: str) -> None:
    figures = {str(i): seed_of(benchmark, 50 + gain, 50.0) for i, gain in enumerate(gains)} | {"mark": "m"}
    page = benchmark.page(benchmark.SETTINGS, figures)
    assert page.count(f"**{told}**") == 3 and "| TangleNAS | " in page and "| 0.50 |" in page
    assert "3 seeds" in page and "24 x2, 44 x2: k5e4 k5e4 k5e4 k5e4" in page
    assert "7 seconds of one core, single path with evolution 3" in page


def test_a_seed_that_is_not_whole_is_in_no_figure(benchmark: Any) -> None:
    figures = {"0": seed_of(benchmark, 51, 50), "1": {"tangled": {}}}
    assert benchmark.of_seeds(figures, benchmark.FOUND, "test") == [51]
    assert benchmark.of_seeds(figures, benchmark.RANDOM, "test") == [50]


def test_alpha_moves_as_far_as_the_papers_whatever_the_number_of_steps(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rate times steps is that of 100 epochs of 390 steps at 0.0003."""
    settings = replace(benchmark.SETTINGS, search_epochs=2)
    rates = []

    class Stop(Exception):
        pass

    def rule(*given: Any, alpha_rate: float) -> Any:
        rates.append(alpha_rate)
        raise Stop

    class Sizes:
        def sizes(self) -> dict[str, int]:
            return {"train": 8000}

    monkeypatch.setattr(benchmark, "TangleNas", rule)
    with pytest.raises(Stop):
        benchmark.tangled(settings, 0, Sizes(), space())
    assert rates == pytest.approx([11.7 / (2 * 62)], rel=0.02)
