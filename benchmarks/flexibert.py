"""Heterogeneous encoders beside homogeneous ones of equal cost on SST-2, each side's pick trained from scratch.

    python benchmarks/flexibert.py DATA             DATA holds text/; goes on where it was stopped, in runs/flexibert
    python benchmarks/flexibert.py DATA --seeds 1   fewer seeds
    python benchmarks/flexibert.py DATA --page      writes its section of docs/results/inhabitants.md as well

A seed: one supernet of both. Every homogeneous encoder (all layers alike) whose multiply-accumulates are between the
two bounds, and as many heterogeneous ones drawn at random from the same bounds, are scored by it on the validation
sentences; the best of each side is trained from scratch by the same schedule and judged on the test sentences.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bars import Bar, report  # type: ignore[import-not-found]  # the files beside this one
from inhabitants import arguments, interval, kept_figures, shown, told, whole_seeds, write_section  # type: ignore[import-not-found]

from hwnas import ops
from hwnas.data import load_data
from hwnas.methods.rule.plain import Plain
from hwnas.methods.rule.single_path import SinglePath
from hwnas.paths import digest
from hwnas.protocols import Data
from hwnas.space import Architecture, SearchSpace
from hwnas.spaces.flexibert import flexibert
from hwnas.supernet import Net, WeightSharing, extract
from hwnas.tasks.classify import Classify
from hwnas.train import Schedule, evaluate, train

KEPT = Path(__file__).resolve().parents[1] / "runs" / "flexibert"
HEADING = "## FlexiBERT's heterogeneous layers on SST-2"
SIDES = ("homogeneous", "heterogeneous")


@dataclass(frozen=True)
class Settings:
    """Of the whole comparison. Costs are thousands of multiply-accumulates a sentence; `scored` sentences validate."""

    length: int = 24
    vocabulary: int = 2000
    least_kmacs: float = 360.0
    most_kmacs: float = 470.0
    scored: int = 436
    supernet_epochs: int = 12
    epochs: int = 6
    batch_size: int = 128
    learning_rate: float = 0.002


SETTINGS = Settings()


def data(folder: Path, s: Settings) -> Data:
    names = {"train": "train", "validation": "dev", "test": "test"}
    paths = {split: str(folder / "text" / f"stsa.binary.{name}") for split, name in names.items()}
    return load_data({"use": "text", **paths, "length": s.length, "vocabulary": s.vocabulary})


def space_of(loaded: Data) -> SearchSpace:
    return flexibert(**loaded.facts, depths=(2,), widths=(16, 32), hidden=(32, 64), precisions=("fp32",))


def kmacs(space: SearchSpace, architecture: Architecture) -> float:
    return sum(ops.macs(operator) for operator in space.lower(architecture).operators) / 1e3


def homogeneous(space: SearchSpace, s: Settings) -> list[Architecture]:
    """Every encoder within the bounds whose layers, and feed-forward blocks within them, are alike."""
    alike = [choice.name.partition(".")[2] for choice in space.choices if choice.name.startswith("l1.")]
    own = [name for name in alike if name != "hidden2"]
    found: dict[Any, Architecture] = {}
    for values in itertools.product(*(space.by_name[f"l1.{name}"].options for name in own)):
        one = dict(zip(own, values, strict=True))
        one["hidden2"] = one["hidden1"]
        whole = {c.name: one.get(c.name.partition(".")[2], c.options[-1]) for c in space.choices}
        architecture = space.architecture(whole)
        if s.least_kmacs <= kmacs(space, architecture) <= s.most_kmacs:
            found[space.lower(architecture)] = architecture
    return list(found.values())


def heterogeneous(space: SearchSpace, s: Settings, count: int, seed: int) -> list[Architecture]:
    """As many different encoders within the bounds, drawn from the whole space."""
    rng, found = np.random.default_rng(seed), dict[Any, Architecture]()
    while len(found) < count:
        one = space.random(rng)
        if s.least_kmacs <= kmacs(space, one) <= s.most_kmacs:
            found[space.lower(one)] = one
    return list(found.values())


def searched(s: Settings, seed: int, loaded: Data, own: dict[str, Any], keep: Any) -> None:
    """One seed. What is there already is not done again."""
    space = space_of(loaded)
    net = WeightSharing(space, seed)
    mark = digest([asdict(s), seed, loaded.digest])
    schedule = Schedule(s.supernet_epochs, s.batch_size, s.learning_rate, seed=seed)
    train(net, SinglePath(space, seed), loaded, schedule, KEPT / f"supernet-{seed}.pt", mark, workers=0)
    alike = homogeneous(space, s)
    sides = {"homogeneous": alike, "heterogeneous": heterogeneous(space, s, len(alike), seed)}
    some = np.random.default_rng(seed).permutation(loaded.sizes()["validation"])[: s.scored]
    for side in SIDES:
        if side in own:
            continue
        seen = [evaluate(extract(net, one), loaded, "validation", some) for one in sides[side]]
        best = max(range(len(seen)), key=lambda i: (seen[i].accuracy, -seen[i].loss))
        alone = Net(space.lower(sides[side][best]), seed)
        again = Schedule(s.epochs, s.batch_size, s.learning_rate, seed=seed)
        train(alone, Plain(Classify()), loaded, again, workers=0)
        own[side] = {
            "test": evaluate(alone, loaded, "test").accuracy * 100,
            "scored": seen[best].accuracy * 100,
            "candidates": len(seen),
            "kmacs": kmacs(space, sides[side][best]),
            "architecture": dict(sides[side][best]),
        }
        keep()


def measure(folder: Path, s: Settings, seeds: int) -> dict[str, Any]:
    """Every seed's figures, kept as soon as they are there."""
    torch.set_num_threads(1)
    loaded = data(folder, s)

    def one(seed: int, own: dict[str, Any], keep: Any) -> None:
        searched(s, seed, loaded, own, keep)

    return dict(kept_figures(KEPT / "figures.json", digest([asdict(s), loaded.digest]), seeds, SIDES, one))


def of_seeds(figures: Mapping[str, Any], side: str, what: str) -> list[float]:
    """One figure of a side, a seed each, of the seeds that are whole."""
    return [seed[side][what] for seed in whole_seeds(figures, SIDES)]


def page(s: Settings, figures: Mapping[str, Any]) -> str:
    """The section: settings, a table, the verdict."""
    rows = [
        f"| {side} | {shown(of_seeds(figures, side, 'test'))} | {shown(of_seeds(figures, side, 'scored'))} | "
        f"{shown(of_seeds(figures, side, 'kmacs'))} |"
        for side in SIDES
    ]
    alike, other = (of_seeds(figures, side, "test") for side in SIDES)
    gain, half = interval([b - a for a, b in zip(alike, other, strict=True)])
    count = figures["0"]["homogeneous"]["candidates"]
    table = "\n".join(rows)
    return f"""{HEADING}

SST-2, {s.length} tokens of {s.vocabulary} word pieces, two layers, {s.least_kmacs:.0f} to {s.most_kmacs:.0f} thousand
multiply-accumulates, fp32; supernet {s.supernet_epochs} epochs, {count} candidates a side, picks trained {s.epochs}
epochs from scratch; {len(alike)} seeds. `python benchmarks/flexibert.py DATA --page`.

| layers | test accuracy (%, mean ± 95 % interval) | validation accuracy in the supernet (%) | kMACs |
|---|---:|---:|---:|
{table}

Heterogeneous layers **{told(gain, half, plural=True)}** homogeneous ones of equal cost: {gain:+.2f} ± {half:.2f}
points, paired by seed.
"""


def main() -> int:
    parser = arguments(str(__doc__), seeds=3)
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    figures = measure(asked.data, SETTINGS, asked.seeds)
    if asked.page:
        write_section(HEADING, page(SETTINGS, figures))
    bars = [
        Bar(f"test accuracy, {side} layers, mean of seeds, %", interval(of_seeds(figures, side, "test"))[0])
        for side in SIDES
    ]
    return int(report("flexibert", bars, asked.json))


if __name__ == "__main__":
    sys.exit(main())
