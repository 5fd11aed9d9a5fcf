"""DARTS on NAS-Bench-201's cell, decoded by argmax and by perturbation, each cell looked up in the published table.

    python benchmarks/nas_bench_201.py DATA             DATA holds nas_bench_201/ and cifar10_jpeg/; goes on where it
                                                        was stopped, in runs/nas_bench_201
    python benchmarks/nas_bench_201.py DATA --seeds 1   fewer seeds
    python benchmarks/nas_bench_201.py DATA --page      writes its section of docs/results/inhabitants.md as well

A seed: a relaxed supernet (width 8, one cell a stage, no affine batch norm) is trained on CIFAR-10 at 16 x 16, half of
the training images for the weights and half for alpha; the share of skips among the six edges is noted at every epoch;
then the decoders read the same supernet: the option of largest weight of all, that of all but `none` (DARTS' own
rule), and perturbation. Nothing of the table is used but to look a found cell up.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bars import Bar, report  # type: ignore[import-not-found]  # the files beside this one
from inhabitants import (  # type: ignore[import-not-found]
    Cells,
    arguments,
    cifar,
    interval,
    shown,
    told,
    write_section,
)

from hwnas.methods.decoder.argmax import Argmax
from hwnas.methods.decoder.perturbation import Perturbation
from hwnas.methods.rule.darts import Darts
from hwnas.paths import digest, read_json, write_json
from hwnas.protocols import Data
from hwnas.space import Architecture, SearchSpace
from hwnas.spaces.nas_bench_201 import EDGES, edge_name, nas_bench_201
from hwnas.supernet import WeightSharing
from hwnas.tasks.classify import Classify
from hwnas.train import Schedule, train

KEPT = Path(__file__).resolve().parents[1] / "runs" / "nas_bench_201"
HEADING = "## DARTS and DARTS-PT on NAS-Bench-201"
CONV = "nor_conv_3x3"
DECODERS = ("argmax", "argmax but none", "perturbation")
CHANCE = 11.0  # percent of ten classes, and a little
EVEN = 0.99  # of the entropy of five equal shares


@dataclass(frozen=True)
class Settings:
    """Of the whole comparison. `images` are taken of the training file, a fifth of them to validate. `alpha_rate` times
    the steps of alpha (1,875) is about the paper's 3e-4 times its 19,550 steps: Adam moves alpha as far in either."""

    images: int = 20000
    side: int = 16
    width: int = 8
    epochs: int = 15
    batch_size: int = 64
    tune_epochs: int = 1
    order: int = 1
    alpha_rate: float = 0.003


SETTINGS = Settings()


def skips(cell: Mapping[str, Any]) -> float:
    return sum(cell[edge_name(*edge)] == "skip_connect" for edge in EDGES) / len(EDGES)


def searched(settings: Settings, seed: int, loaded: Data, own: dict[str, Any], keep: Any) -> None:
    """One seed: trains, notes the share of skips by epoch, decodes twice. What is there already is not done again."""
    facts = {name: loaded.facts[name] for name in ("in_channels", "classes", "image_size")}
    space: SearchSpace = nas_bench_201(**facts, width=settings.width, cells=1, affine=False, precisions=("fp32",))
    net, rule = WeightSharing(space, seed), Darts(space, seed, order=settings.order, alpha_rate=settings.alpha_rate)
    schedule = Schedule(settings.epochs, settings.batch_size, seed=seed)
    mark = digest([asdict(settings), seed, loaded.digest])
    by_epoch: dict[str, float] = own.setdefault("skips", {})
    without: dict[str, float] = own.setdefault("skips where none is never picked", {})

    def no_scores(architectures: Any) -> np.ndarray:
        return np.zeros(len(architectures))

    papers = Argmax(rule, space, never=["none"])

    def note(done: int, total: int, text: str) -> None:
        if done % (total // settings.epochs) == 0:
            epoch = str(done * settings.epochs // total)
            by_epoch[epoch] = skips(rule.pick())
            without[epoch] = skips(papers.decode(net, rule, space, no_scores))
            keep()

    train(net, rule, loaded, schedule, KEPT / f"supernet-{seed}.pt", mark, note, workers=0)

    own["entropy"] = float(
        np.mean([float(torch.distributions.Categorical(logits=a.detach()).entropy()) for a in rule.alpha.values()])
    )
    for name, decoder in (
        ("argmax", Argmax(rule)),
        ("argmax but none", papers),
        ("perturbation", Perturbation(rule, loaded, Classify(), seed, settings.tune_epochs, settings.batch_size)),
    ):
        if name not in own:
            begun = time.monotonic()
            found: Architecture = decoder.decode(net, rule, space, no_scores)
            own[name] = {edge_name(*edge): found[edge_name(*edge)] for edge in EDGES}
            own[f"{name} seconds"] = time.monotonic() - begun
            keep()


def seed_figures(folder: Path, settings: Settings, seed: int) -> dict[str, Any]:
    """One seed's figures, kept as soon as they are there."""
    torch.set_num_threads(1)
    loaded, file = cifar(folder, settings.side, settings.images), KEPT / f"figures-{seed}.json"
    mark = digest([asdict(settings), loaded.digest])
    kept = read_json(file) if file.exists() else {}
    own: dict[str, Any] = kept if kept.get("mark") == mark else {"mark": mark}
    if not set(DECODERS) <= own.keys():
        KEPT.mkdir(parents=True, exist_ok=True)
        searched(settings, seed, loaded, own, lambda: write_json(file, own))
        print(f"seed {seed}: {own}", file=sys.stderr, flush=True)
    return own


def accuracies(seeds: Sequence[Mapping[str, Any]], table: Cells, decoder: str) -> list[float]:
    return [table.of(seed[decoder]) for seed in seeds]


def page(settings: Settings, seeds: Sequence[Mapping[str, Any]], table: Cells) -> str:
    """The section: settings, a table of accuracies, skips by epoch, and the verdict."""
    argmax, papers, perturbed = (accuracies(seeds, table, name) for name in DECODERS)
    conv = table.known()[(CONV,) * len(EDGES)]
    gain, half = interval([b - a for a, b in zip(argmax, perturbed, strict=True)])
    own, own_half = interval([b - a for a, b in zip(papers, perturbed, strict=True)])
    random = table.best_of_random(50)
    below = interval(perturbed)[0] < min(conv, random)
    epochs = sorted({int(epoch) for seed in seeds for epoch in seed["skips"]})
    shares = {
        "argmax": [[s["skips"].get(str(e), np.nan) for s in seeds] for e in epochs],
        "argmax but none": [[s["skips where none is never picked"].get(str(e), np.nan) for s in seeds] for e in epochs],
    }
    rows = "\n".join(_shares(name, of) for name, of in shares.items())
    place = "below" if below else "not below"
    entropy = float(np.mean([s["entropy"] for s in seeds]))
    moved = "" if entropy < EVEN * np.log(5) else " Alpha hardly moved in so few steps: this argmax is a draw."
    return f"""{HEADING}

{settings.images} images of CIFAR-10 (JPEG) at {settings.side} x {settings.side}, a fifth to validate, the rest in two
halves; width {settings.width}, one cell a stage, order {settings.order}, {settings.epochs} epochs,
alpha at rate {settings.alpha_rate} (the paper's is 0.0003, over ten times the steps),
{settings.tune_epochs} epoch of tuning after each of five decisions; {len(seeds)} seeds. Accuracies: the published ones
of the found cells (CIFAR-10, 200 epochs). `python benchmarks/nas_bench_201.py DATA --page`.

| cell | accuracy (%, mean ± 95 % interval) |
|---|---:|
| DARTS, argmax | {shown(argmax)} |
| DARTS, argmax of all but `none`, as the paper decodes | {shown(papers)} |
| DARTS-PT, same supernets | {shown(perturbed)} |
| mean of all cells | {float(table.accuracies.mean()):.2f} |
| best of 50 random cells, mean | {random:.2f} |
| all edges {CONV} | {conv:.2f} |

Perturbation **{told(gain, half)}** argmax: {gain:+.2f} ± {half:.2f} points, paired by seed; and it
**{told(own, own_half)}** the paper's argmax: {own:+.2f} ± {own_half:.2f}. It is {place} both trivial baselines.
{_dead(seeds, table)} of the {len(seeds)} cells by argmax of all options classify by chance (10 %): to beat such
shows little.

| epoch | {" | ".join(map(str, epochs))} |
|---|{"---:|" * len(epochs)}
{rows}

Mean entropy of alpha: {entropy:.3f} nats of {np.log(5):.3f}: the closer, the more an argmax is chance.{moved}
Cells by seed (argmax / of all but none / perturbation): {"; ".join(_cells(s) for s in seeds)}.
"""


def _dead(seeds: Sequence[Mapping[str, Any]], table: Cells) -> int:
    """How many cells by argmax give nothing of the image: `none` cuts their output off."""
    return sum(accuracy < CHANCE for accuracy in accuracies(seeds, table, "argmax"))


def _shares(name: str, by_epoch: Sequence[Sequence[float]]) -> str:
    """A row of means, over the seeds in which the share was noted."""
    seeds = int(np.sum(~np.isnan(by_epoch[-1])))
    return f"| share of skips, {name} ({seeds} seeds) | {' | '.join(f'{np.nanmean(row):.2f}' for row in by_epoch)} |"


def _cells(seed: Mapping[str, Any]) -> str:
    return " / ".join(",".join(seed[name][edge_name(*e)] for e in EDGES) for name in DECODERS)


def main() -> int:
    parser = arguments(str(__doc__), seeds=4)
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:  # a core each
        figures = list(pool.map(partial(seed_figures, asked.data, SETTINGS), range(asked.seeds)))
    table = Cells(asked.data)
    if asked.page:
        write_section(HEADING, page(SETTINGS, figures, table))
    bars = [
        Bar(f"accuracy of the cell by {name}, mean of seeds, %", interval(accuracies(figures, table, name))[0])
        for name in DECODERS
    ]
    return int(report("nas_bench_201", bars, asked.json))


if __name__ == "__main__":
    sys.exit(main())
