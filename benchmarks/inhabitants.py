"""What the comparisons of docs/results/inhabitants.md share: intervals over seeds, figures that are kept, a section of
the page, and the published cells of NAS-Bench-201 with the images that supernets of them train on."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.data import load_data
from hwnas.paths import read_json, write_json, write_text
from hwnas.protocols import Data
from hwnas.spaces.nas_bench_201 import EDGES, edge_name

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results" / "inhabitants.md"
#: Student's quantile of a mean of so many seeds, 95 %, two sides; of more seeds the last, which is a little wide
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def arguments(doc: str, seeds: int) -> argparse.ArgumentParser:
    """A parser of what every comparison takes, described by the first line of its file."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--page", action="store_true")
    return parser


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and the half width of its 95 % interval (Student); NaN for the width of a single value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), T_95.get(len(values), T_95[10]) * spread / len(values) ** 0.5


def shown(values: Sequence[float]) -> str:
    """`54.3 ± 2.1`, or the value alone."""
    mean, half = interval(values)
    return f"{mean:.2f} ± {half:.2f}" if len(values) > 1 else f"{mean:.2f} (one seed)"


def told(gain: float, half: float, plural: bool = False) -> str:
    """What an interval of a difference says of the first beside the second."""
    if not abs(gain) > half:
        return f"{'are' if plural else 'is'} not told apart from"
    return ("beat" if plural else "beats") if gain > 0 else f"{'are' if plural else 'is'} beaten by"


Seed = Callable[[int, dict[str, Any], Callable[[], None]], None]  # a seed, what is kept of it, and to keep it


def kept_figures(file: Path, mark: str, seeds: int, parts: Sequence[str], one: Seed) -> dict[str, Any]:
    """Every seed's figures, from `file` where they are there; `one` makes what is missing of `parts` and keeps each as
    soon as it is there. Figures of another mark are made anew."""
    kept = read_json(file) if file.exists() else {}
    figures: dict[str, Any] = kept if kept.get("mark") == mark else {"mark": mark}
    file.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        own = figures.setdefault(str(seed), {})
        if not set(parts) <= own.keys():
            one(seed, own, lambda: write_json(file, figures))
            print(f"seed {seed}: {own}", file=sys.stderr, flush=True)
    return figures


def whole_seeds(figures: Mapping[str, Any], parts: Sequence[str]) -> list[dict[str, Any]]:
    """The figures of the seeds that have all parts, in order."""
    seeds = sorted((key for key in figures if key.isdigit()), key=int)
    return [figures[key] for key in seeds if set(parts) <= figures[key].keys()]


class Cells:
    """NAS-Bench-201's published accuracies on CIFAR-10 after 200 epochs, percent, by cell."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "nas_bench_201" / "nas_bench_201.npz") as held:
            names = [str(name) for name in held["op_names"]]
            self.operations = [[names[i] for i in row] for row in held["ops"]]
            self.accuracies = held["test_accuracy_200_epochs"][:, list(held["datasets"]).index("cifar10")]

    @lru_cache(maxsize=1)  # noqa: B019  one table a run
    def known(self) -> dict[tuple[str, ...], float]:
        return {tuple(row): float(a) for row, a in zip(self.operations, self.accuracies, strict=True)}

    def of(self, cell: Mapping[str, Any]) -> float:
        """The accuracy of a found cell; its edges in the benchmark's order."""
        return self.known()[tuple(str(cell[edge_name(*edge)]) for edge in EDGES)]

    def best_of_random(self, count: int, draws: int = 10000) -> float:
        """The mean best of `count` cells drawn at random."""
        rng = np.random.default_rng(0)
        drawn = self.accuracies[rng.integers(0, len(self.accuracies), (draws, count))]
        return float(drawn.max(axis=1).mean())


def cifar(folder: Path, side: int, count: int) -> Data:
    """CIFAR-10 from JPEG files at `side` x `side`: `count` of the training file, a fifth of them to validate."""
    files = {name: str(folder / "cifar10_jpeg" / f"cifar10_{name}_jpegs.npz") for name in ("train", "test")}
    return load_data({"use": "jpegs", "path": files["train"], "test": files["test"], "size": side, "count": count})


def write_section(heading: str, section: str) -> None:
    """Puts the section in place of an older one of its heading, or at the page's end."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    older = re.compile(re.escape(heading) + r"\n.*?(?=\n## |\Z)", re.DOTALL)
    if older.search(text):
        write_text(PAGE, older.sub(lambda _: section.rstrip("\n") + "\n", text, count=1).rstrip("\n") + "\n")
    else:
        start = text or "# Inhabitants\n\nSearches beside natural baselines, each by its own benchmark.\n"
        write_text(PAGE, start + "\n" + section)
