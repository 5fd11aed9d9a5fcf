"""Things that are odd and legal pass the suites of their kinds; what a suite must notice, it notices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.testing import LawBroken, check

COST = '''"""strange: a price."""
from hwnas.cost import OperatorCost

UNIT, LIMITS = "strange", {{"strange": 1.0}}


def strange() -> OperatorCost:
    return OperatorCost("strange", UNIT, lambda operator: {price})
'''


def written(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / f"{name}.py").write_text(text)


class Error:
    """A regression: the negative root of the mean squared error, whose metric is never above 0."""

    metric, unit = "negative RMSE", "points"

    def loss(self, outputs: Any, targets: Any) -> Any:
        return ((outputs[:, 0] - targets) ** 2).mean()

    def distil(self, student: Any, teacher: Any) -> Any:
        return ((student - teacher.detach()) ** 2).mean()

    def statistics(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        squared = (outputs[:, 0].astype(np.float64) - targets) ** 2
        return np.stack([squared, squared], axis=1)

    def reduce(self, statistics: np.ndarray) -> float:
        return -float(np.sqrt(statistics[:, 0].mean()))

    def same(self, got: np.ndarray, expected: np.ndarray) -> np.ndarray:
        return np.abs(got - expected)[:, 0] <= 1e-3

    def baseline(self, data: Any) -> tuple[str, float]:
        return "nothing", -1.0


def numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=24).astype(np.float32)
    return rng.normal(size=(24, 1)).astype(np.float32) + 1, targets, targets[:, None].copy()


def test_a_task_of_numbers_below_0_is_held_to_the_law_by_examples_of_its_own() -> None:
    check("task", Error(), examples=numbers)

    class Upside(Error):
        def reduce(self, statistics: np.ndarray) -> float:
            return -super().reduce(statistics)

    with pytest.raises(LawBroken, match="the right answer has a higher metric"):
        check("task", Upside(), examples=numbers)


@pytest.mark.parametrize(
    ("price", "told"), [("float('nan')", "finite float as .*price, got nan"), ("3", "got 3"), ("0.0", "")]
)
def test_a_cost_without_a_device_prices_every_operator(price: str, told: str, outside: Path) -> None:
    written(outside / "methods" / "cost", "strange", COST.format(price=price))
    if not told:
        check("cost", "strange")
        return
    with pytest.raises(LawBroken, match=told):
        check("cost", "strange")
