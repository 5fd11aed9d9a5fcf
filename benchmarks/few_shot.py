"""Few-shot NAS beside the one-shot supernet of as many training steps: how each ranks NAS-Bench-201's cells.

    python benchmarks/few_shot.py DATA             DATA holds nas_bench_201/ and cifar10_jpeg/; goes on where it was
                                                   stopped, in runs/few_shot
    python benchmarks/few_shot.py DATA --seeds 1   fewer seeds
    python benchmarks/few_shot.py DATA --page      writes its section of docs/results/inhabitants.md as well

A seed: a one-shot supernet trains for `shared` epochs. From its weights two go on for `further` epochs by the same
schedule, batches and paths: itself, and its five parts by the first edge (few-shot: each gets the steps that fall to
it), so that both take the same steps in all. Each scores the same random cells by accuracy on validation images, with
batch statistics; how well they are ranked is said by the published table, which is used for nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
    kept_figures,
    shown,
    told,
    whole_seeds,
    write_section,
)

from hwnas.data import balanced
from hwnas.methods.rule.single_path import SinglePath
from hwnas.methods.wrapper.few_shot import FewShot
from hwnas.paths import digest
from hwnas.protocols import Data
from hwnas.space import Architecture, SearchSpace
from hwnas.spaces.nas_bench_201 import EDGES, edge_name, nas_bench_201
from hwnas.supernet import WeightSharing
from hwnas.train import Schedule, load_state, take_up, train

KEPT = Path(__file__).resolve().parents[1] / "runs" / "few_shot"
HEADING = "## Few-shot NAS on NAS-Bench-201"
FEW, ONE = "few-shot", "one-shot"
SUPERNETS = (FEW, ONE)
COUNTED = "weighted convolution count"
WEIGHTS = {"nor_conv_3x3": 9, "nor_conv_1x1": 1}  # of an edge's operation: all that the trivial predictor knows


@dataclass(frozen=True)
class Settings:
    """Of the whole comparison. `images` are taken of the training file, a fifth of them to validate; `cells` are
    scored by each supernet on `scored` of these, `portion` at a time (whose statistics normalise). The rate is the one
    of 0.002, 0.01 and 0.03 whose one-shot supernet had the lowest loss after two epochs."""

    images: int = 10000
    side: int = 16
    width: int = 8
    affine: bool = False
    shared: int = 12
    further: int = 12
    batch_size: int = 64
    learning_rate: float = 0.01
    cells: int = 200
    scored: int = 1000
    portion: int = 500


SETTINGS = Settings()


def space_of(s: Settings, loaded: Data) -> SearchSpace:
    facts = {name: loaded.facts[name] for name in ("in_channels", "classes", "image_size")}
    return nas_bench_201(**facts, width=s.width, cells=1, affine=s.affine, precisions=("fp32",))


def drawn(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """As many different cells, drawn uniformly."""
    rng, found = np.random.default_rng((seed, 1)), dict[Architecture, None]()
    while len(found) < count:
        found.setdefault(space.random(rng))
    return list(found)


def scores(net: Any, cells: Sequence[Architecture], loaded: Data, s: Settings) -> list[float]:
    """The share of validation images that the supernet gets right by each cell."""
    some = balanced(loaded, "validation", s.scored, 0)
    batches = [loaded.batch("validation", some[i : i + s.portion]) for i in range(0, len(some), s.portion)]
    with torch.no_grad():
        right = [sum(int((net(b.given, c).argmax(1) == b.labels).sum()) for b in batches) for c in cells]
    return [count / len(some) for count in right]


def supernet(name: str, s: Settings, seed: int, space: SearchSpace, loaded: Data) -> Any:
    """One of SUPERNETS, trained; each from its last whole epoch where it was stopped."""
    mark = digest([asdict(s), seed, loaded.digest])

    def trained(net: Any, epochs: int, turn: int, file: str) -> Any:
        schedule = Schedule(epochs, s.batch_size, s.learning_rate, seed=seed + turn)
        rule = SinglePath(space, seed + turn)
        return train(net, rule, loaded, schedule, KEPT / f"{file}-{seed}.pt", mark, workers=0)

    trained(WeightSharing(space, seed), s.shared, 0, "shared")
    start, net = KEPT / f"shared-{seed}.pt", WeightSharing(space, seed)
    if name == FEW:
        wrapper = FewShot(space, seed, start=str(start))
        split = wrapper(net)
        wrapper.begin(split)
        return trained(split, s.further, 1000, FEW)
    take_up(net, load_state(start), start)
    return trained(net, s.further, 1000, ONE)


def measure(folder: Path, s: Settings, seeds: int) -> dict[str, Any]:
    """Every seed's scores by supernet, kept as soon as they are there."""
    torch.set_num_threads(1)
    loaded = cifar(folder, s.side, s.images)
    space = space_of(s, loaded)

    def one(seed: int, own: dict[str, Any], keep: Any) -> None:
        for name in SUPERNETS:
            if name not in own:
                begun = time.process_time()
                net = supernet(name, s, seed, space, loaded)
                own[name] = scores(net, drawn(space, s.cells, seed), loaded, s)
                own[f"{name} seconds"] = time.process_time() - begun
                keep()
        own["cells"] = [[cell[edge_name(*edge)] for edge in EDGES] for cell in drawn(space, s.cells, seed)]
        keep()

    parts = (*SUPERNETS, "cells")
    mark = digest([asdict(s), loaded.digest])
    return dict(kept_figures(KEPT / "figures.json", mark, seeds, parts, one))


@dataclass(frozen=True)
class Ranking:
    """How scores rank cells whose accuracies (%) are known. `best`: of the cell scored best, the mean where several
    are."""

    spearman: float
    kendall: float
    best: float


def ranking(given: Sequence[float], accuracies: Sequence[float]) -> Ranking:
    from scipy.stats import kendalltau, spearmanr  # type: ignore[import-untyped]

    values, known = np.asarray(given), np.asarray(accuracies)
    best = float(known[values == values.max()].mean())
    return Ranking(float(spearmanr(values, known)[0]), float(kendalltau(values, known)[0]), best)


def rankings(figures: Mapping[str, Any], table: Cells) -> dict[str, list[Ranking]]:
    """By predictor, a seed each: the supernets, and beside them what knows no images at all."""
    found: dict[str, list[Ranking]] = {}
    for own in whole_seeds(figures, (*SUPERNETS, "cells")):
        known = [table.known()[tuple(cell)] for cell in own["cells"]]
        given = {name: own[name] for name in SUPERNETS}
        given[COUNTED] = [sum(WEIGHTS.get(operation, 0) for operation in cell) for cell in own["cells"]]
        for name, one in given.items():
            found.setdefault(name, []).append(ranking(one, known))
        found.setdefault("random order, expected", []).append(Ranking(0.0, 0.0, float(np.mean(known))))
        found.setdefault("the table itself", []).append(ranking(known, known))
    return found


def page(s: Settings, figures: Mapping[str, Any], table: Cells) -> str:
    """The section: settings, a table of rankings, the verdict beside each rival."""
    found, seeds = rankings(figures, table), whole_seeds(figures, (*SUPERNETS, "cells"))
    rows = "\n".join(
        f"| {name} | {shown([one.spearman for one in of])} | {shown([one.kendall for one in of])} | "
        f"{shown([one.best for one in of])} |"
        for name, of in found.items()
    )
    minutes = sum(own[f"{name} seconds"] for own in seeds for name in SUPERNETS) / 60
    verdicts = "; ".join(_verdict(found, rival) for rival in (ONE, COUNTED))
    return f"""{HEADING}

{s.images} images of CIFAR-10 (JPEG) at {s.side} x {s.side}, a fifth to validate; width {s.width}, one cell a stage,
single path, rate {s.learning_rate}. One-shot for {s.shared} epochs; from its weights {s.further} more of it
(`one-shot`), or of its five parts by the first edge (`few-shot`), by the same schedule, batches and paths: both take
the same steps. Each scores the same {s.cells} random cells by accuracy on {s.scored} validation images, with batch
statistics; truth is the published accuracy (CIFAR-10, 200 epochs). {len(seeds)} seeds, {minutes:.0f} minutes of one
core. `python benchmarks/few_shot.py DATA --page`.

| scored by | Spearman (mean ± 95 % interval) | Kendall's tau | accuracy of the cell scored best (%) |
|---|---:|---:|---:|
{rows}

In Spearman's rank correlation, paired by seed, few-shot {verdicts}.
The convolution count (9 a 3x3, 1 a 1x1 convolution) has seen no image. Cells drawn at random were classified right by
the supernets in {_level(seeds, FEW)} (few-shot) and {_level(seeds, ONE)} (one-shot) of images, on average.
"""


def _level(seeds: Sequence[Mapping[str, Any]], name: str) -> str:
    return f"{np.mean([own[name] for own in seeds]):.1%}"


def _verdict(found: Mapping[str, Sequence[Ranking]], rival: str) -> str:
    gain, half = interval([a.spearman - b.spearman for a, b in zip(found[FEW], found[rival], strict=True)])
    return f"**{told(gain, half)}** {rival} ({gain:+.3f} ± {half:.3f})"


def main() -> int:
    parser = arguments(str(__doc__), seeds=3)
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    table, figures = Cells(asked.data), measure(asked.data, SETTINGS, asked.seeds)
    if asked.page:
        write_section(HEADING, page(SETTINGS, figures, table))
    bars = [
        Bar(f"Spearman of {name}, mean of seeds", interval([one.spearman for one in of])[0])
        for name, of in rankings(figures, table).items()
    ]
    return int(report("few_shot", bars, asked.json))


if __name__ == "__main__":
    sys.exit(main())
