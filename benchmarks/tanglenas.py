"""TangleNAS on the mobile space beside evolution in a single-path supernet, random nets of equal cost and the largest.

    python benchmarks/tanglenas.py DATA             DATA holds cifar10_jpeg/; goes on where it was stopped, in
                                                    runs/tanglenas
    python benchmarks/tanglenas.py DATA --seeds 1   fewer seeds
    python benchmarks/tanglenas.py DATA --page      writes its section of docs/results/inhabitants.md as well

A seed: TangleNAS trains weights on one half of the training images and alpha on the other, and its argmax is taken. A
single-path supernet of the same first weights trains on all of them for as many epochs, so both see as many images;
evolution then scores architectures by it on the validation images, at most of the cost that TangleNAS's net has. These
two, two random architectures of nearly that cost and the space's largest net are trained from scratch alike and judged
on the test images. Seconds are of the processor.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bars import Bar, report  # type: ignore[import-not-found]  # the files beside this one
from inhabitants import (  # type: ignore[import-not-found]
    arguments,
    cifar,
    interval,
    kept_figures,
    shown,
    told,
    whole_seeds,
    write_section,
)

from hwnas.cost import Costing
from hwnas.methods.cost.macs import macs
from hwnas.methods.rule.plain import Plain
from hwnas.methods.rule.single_path import SinglePath
from hwnas.methods.rule.tanglenas import TangleNas
from hwnas.methods.scorer.validation import Validation
from hwnas.methods.search.regularized_evolution import RegularizedEvolution
from hwnas.paths import digest
from hwnas.protocols import Data
from hwnas.search import search
from hwnas.space import Architecture, SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.supernet import Net, WeightSharing, recalibrate
from hwnas.train import Schedule, evaluate, some_images, steps_per_epoch, train

KEPT = Path(__file__).resolve().parents[1] / "runs" / "tanglenas"
HEADING = "## TangleNAS on the mobile space"
FOUND, EVOLVED, RANDOM, LARGEST = "TangleNAS", "single path + evolution", "random, mean of two", "largest"
NETS = (FOUND, EVOLVED, "random A", "random B", LARGEST)
PAPERS_ALPHA = 3e-4 * 100 * 390  # rate of alpha times its steps, of the code's search of convolutions on CIFAR-10


@dataclass(frozen=True)
class Settings:
    """Of the whole comparison. `images` are taken of the training file, a fifth of them to validate. Alpha's rate is
    such that rate times steps is the paper's: Adam moves alpha as far in either."""

    images: int = 6000
    side: int = 16
    stem_width: int = 12
    widths: tuple[tuple[int, ...], ...] = ((16, 20, 24), (28, 36, 44))
    strides: tuple[int, ...] = (1, 2)
    depths: tuple[int, ...] = (1, 2)
    kernels: tuple[int, ...] = (3, 5)
    expansions: tuple[int, ...] = (2, 3, 4)
    search_epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 0.004
    budget: int = 30
    recalibration: int = 512
    epochs: int = 5


SETTINGS = Settings()
Figures = dict[str, Any]


def space_of(s: Settings, loaded: Data) -> SearchSpace:
    facts = {name: loaded.facts[name] for name in ("in_channels", "classes", "image_size")}
    return mobile(
        **facts, resolutions=(s.side,), stem_width=s.stem_width, widths=s.widths, depths=s.depths, strides=s.strides,
        kernels=s.kernels, expansions=s.expansions, squeeze_excite=(False,), precisions=("fp32",),
    )  # fmt: skip


def tangled(s: Settings, seed: int, loaded: Data, space: SearchSpace) -> Figures:
    """The architecture that TangleNAS picks, and how sure alpha is of it."""
    half = loaded.sizes()["train"] // 2
    schedule = Schedule(s.search_epochs, s.batch_size, seed=seed)
    steps = s.search_epochs * steps_per_epoch(half, schedule)
    net, rule = WeightSharing(space, seed), TangleNas(space, seed, alpha_rate=PAPERS_ALPHA / steps)
    train(net, rule, loaded, schedule, KEPT / f"tanglenas-{seed}.pt", mark_of(s, seed, loaded), workers=0)
    raised = [torch.nn.functional.elu(alpha.detach()) + 1 for alpha in rule.alpha.values()]
    shares = [one / one.sum() for one in raised]  # the mean draw
    even = [float(torch.special.entr(share).sum()) / np.log(len(share)) for share in shares]
    return {"architecture": dict(rule.pick()), "entropy": float(np.mean(even))}


def evolved(s: Settings, seed: int, loaded: Data, space: SearchSpace, most: float) -> Figures:
    """The architecture that evolution picks in a single-path supernet, at most of `most` multiply-accumulates."""
    net = WeightSharing(space, seed)
    schedule = Schedule(s.search_epochs, s.batch_size, s.learning_rate, seed=seed)
    path = KEPT / f"single-path-{seed}.pt"
    train(net, SinglePath(space, seed), loaded, schedule, path, mark_of(s, seed, loaded), workers=0)
    costing = Costing(space, macs())
    scorer = Validation(net, loaded, seed, s.recalibration)
    found = search(
        space, RegularizedEvolution(space, seed), scorer, {"macs": costing}, {"macs": most}, budget=s.budget, seed=seed
    )
    return {"architecture": dict(found.pick.architecture), "scored": s.budget}


def near(space: SearchSpace, found: Architecture, seed: int, count: int = 2) -> list[Architecture]:
    """Random architectures of other networks whose cost is within 5 % of the found one's, or as near as there are."""
    rng, costing = np.random.default_rng((seed, 11)), Costing(space, macs())
    drawn = [space.random(rng) for _ in range(2000)]
    away = np.abs(costing(drawn) / float(costing([found])[0]) - 1)
    picked: dict[Any, Architecture] = {space.lower(found): found}
    for i in np.argsort(np.maximum(away, 0.05), kind="stable"):
        picked.setdefault(space.lower(drawn[i]), drawn[i])
        if len(picked) > count:
            break
    return list(picked.values())[1:]


def trained(s: Settings, seed: int, loaded: Data, space: SearchSpace, architecture: Architecture) -> Figures:
    """Test accuracy, percent, of the net trained from scratch, with its cost."""
    net = Net(space.lower(architecture), seed)
    train(net, Plain(), loaded, Schedule(s.epochs, s.batch_size, s.learning_rate, seed=seed), workers=0)
    recalibrate(net, some_images(loaded, s.recalibration, seed))
    test = 100 * evaluate(net, loaded, "test").accuracy
    return {"test": test, "macs": float(Costing(space, macs())([architecture])[0])}


def mark_of(s: Settings, seed: int, loaded: Data) -> str:
    return str(digest([asdict(s), seed, loaded.digest]))


def measure(folder: Path, s: Settings, seeds: int) -> Figures:
    """Every seed's figures, each kept as soon as it is there; what is there already is not done again."""
    torch.set_num_threads(1)
    loaded = cifar(folder, s.side, s.images)
    space = space_of(s, loaded)

    def one(seed: int, own: Figures, keep: Callable[[], None]) -> None:
        def once(name: str, make: Callable[[], Figures]) -> Figures:
            if name not in own:
                begun = time.process_time()
                own[name] = make()
                own[name]["seconds"] = time.process_time() - begun
                keep()
                print(f"{seed} {name}: {own[name]}", file=sys.stderr, flush=True)
            found: Figures = own[name]
            return found

        first = once("tangled", lambda: tangled(s, seed, loaded, space))
        picked = {FOUND: space.architecture(first["architecture"]), LARGEST: space.largest()}
        cost = float(Costing(space, macs())([picked[FOUND]])[0])
        second = once("evolved", lambda: evolved(s, seed, loaded, space, cost))
        picked[EVOLVED] = space.architecture(second["architecture"])
        picked["random A"], picked["random B"] = near(space, picked[FOUND], seed)
        for name in NETS:
            once(name, lambda net=picked[name]: trained(s, seed, loaded, space, net))  # type: ignore[misc]

    mark = digest([asdict(s), loaded.digest])
    return dict(kept_figures(KEPT / "figures.json", mark, seeds, NETS, one))


def of_seeds(figures: Mapping[str, Any], name: str, what: str) -> list[float]:
    """One figure of a net, a seed each, of the seeds that are whole; of the random nets their mean."""
    whole = whole_seeds(figures, NETS)
    if name == RANDOM:
        return [(own["random A"][what] + own["random B"][what]) / 2 for own in whole]
    return [float(own[name][what]) for own in whole]


def page(s: Settings, figures: Mapping[str, Any]) -> str:
    """The section: settings, a table, what each comparison says, and what was found."""
    rows, said = [], []
    for name in (FOUND, EVOLVED, RANDOM, LARGEST):
        cost = float(np.mean(of_seeds(figures, name, "macs"))) / 1e6
        rows.append(f"| {name} | {shown(of_seeds(figures, name, 'test'))} | {cost:.2f} |")
        if name != FOUND:
            pairs = zip(of_seeds(figures, FOUND, "test"), of_seeds(figures, name, "test"), strict=True)
            gains = [a - b for a, b in pairs]
            said.append(f"**{told(*interval(gains))}** {name} ({shown(gains)} points)")
    spent, other = (round(float(np.mean(of_seeds(figures, name, "seconds")))) for name in ("tangled", "evolved"))
    entropy = float(np.mean(of_seeds(figures, "tangled", "entropy")))
    seeds = whole_seeds(figures, NETS)
    table, cells = "\n".join(rows), "; ".join(_brief(own["tangled"]["architecture"]) for own in seeds)
    widths = " and ".join(str(list(options)) for options in s.widths)
    return f"""{HEADING}

{s.images} images of CIFAR-10 (JPEG) at {s.side} x {s.side}, a fifth to validate; two stages of one or two blocks,
widths {widths}, kernels {list(s.kernels)}, expansions {list(s.expansions)}, fp32; both
searches {s.search_epochs} epochs, TangleNAS's on two halves; evolution scores {s.budget} architectures of at most the
cost of TangleNAS's net. Then every net from scratch, {s.epochs} epochs; {len(seeds)} seeds. Alpha's rate times its
steps is the paper's. `python benchmarks/tanglenas.py DATA --page`.

| net | test accuracy (%, mean ± 95 % interval) | million MACs |
|---|---:|---:|
{table}

TangleNAS's net, paired by seed: {"; ".join(said)}.
A search took {spent} seconds of one core, single path with evolution {other}: equal images, not equal time. Entropy of
alpha: {entropy:.2f} of that of even shares; the nearer to 1, the more of the pick was chance. Nothing in TangleNAS asks
for a small net.
Found (widths and depths; kernel and expansion of each block): {cells}.
"""


def _brief(found: Mapping[str, Any]) -> str:
    """An architecture's choices on one line, without those that it does not use."""
    stages = sorted(name.partition(".")[0] for name in found if name.endswith(".depth"))
    blocks = [f"{stage}.b{i}" for stage in stages for i in range(found[f"{stage}.depth"])]
    heads = [f"{found[f'{stage}.width']} x{found[f'{stage}.depth']}" for stage in stages]
    return f"{', '.join(heads)}: " + " ".join(f"k{found[f'{b}.kernel']}e{found[f'{b}.expansion']}" for b in blocks)


def main() -> int:
    parser = arguments(str(__doc__), seeds=3)
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    figures = measure(asked.data, SETTINGS, asked.seeds)
    if asked.page:
        write_section(HEADING, page(SETTINGS, figures))
    bars = [
        Bar(f"test accuracy, {name}, mean of seeds, %", interval(of_seeds(figures, name, "test"))[0])
        for name in (FOUND, EVOLVED, RANDOM, LARGEST)
    ]
    return int(report("tanglenas", bars, asked.json))


if __name__ == "__main__":
    sys.exit(main())
