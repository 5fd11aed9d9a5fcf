"""Keyword spotting: the searched net beside natural ones at equal cost, on spoken digits from raw samples.

    python benchmarks/keywords.py ARCHIVE             ARCHIVE is what examples/keywords.py wrote; goes on where it
                                                      was stopped, in runs/keywords_benchmark
    python benchmarks/keywords.py ARCHIVE --seeds 1   fewer seeds
    python benchmarks/keywords.py ARCHIVE --page      writes its section of docs/results/inhabitants.md as well

A seed: train a supernet, search the best architecture within the middle of the reachable multiply-accumulates, and
train it from scratch beside four random architectures, one of a single width with the same strides, DS-CNN (ten bands,
so 25 x 5 places behind its strided stem, and four blocks of one width there), each of nearly the same cost, and a
linear classifier of the bands. All are fp32 and see the same clips equally often. The front end has no parameters, so
its bands are computed once, ahead of all trainings; `million MACs` leaves it out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from bars import Bar, report  # type: ignore[import-not-found]  # the files beside this one
from inhabitants import arguments, interval, shown, write_section  # type: ignore[import-not-found]

from hwnas import ops
from hwnas.cost import Costing, OperatorCost
from hwnas.data import Data, load_data
from hwnas.methods.rule.plain import Plain
from hwnas.methods.rule.single_path import SinglePath
from hwnas.methods.search.regularized_evolution import RegularizedEvolution
from hwnas.network import INPUT, Network, Operator, Port
from hwnas.paths import digest, read_json, write_json
from hwnas.protocols import Batch
from hwnas.search import search
from hwnas.space import SearchSpace
from hwnas.spaces.keywords import front_end, keywords
from hwnas.supernet import Net, WeightSharing, extract, recalibrate
from hwnas.tasks.classify import Classify
from hwnas.train import Schedule, evaluate, some_images, train

KEPT = Path(__file__).resolve().parents[1] / "runs" / "keywords_benchmark"
HEADING = "## Keyword spotting from raw samples, on spoken digits"
LINEAR = "linear on log-mel"
DS_CNN = "DS-CNN, ten bands"
HOMOGENEOUS = "one width, same strides"
RANDOMS = tuple(f"random {letter}" for letter in "ABCD")
DS_CNN_BANDS = 10  # the paper's ten coefficients a frame
WHY_TEN_BANDS = """DS-CNN reads ten numbers a frame, so its stem leaves 25 x 5 places. On 40 bands it leaves 25 x 20,
and at this cost a net of one width is then 9 channels wide: 49 % of the *training* clips after 16 epochs at a rate of
0.004, 81 % at 0.02 (one seed each): too narrow for so few steps. At 25 x 5 places it is 22 channels wide, and gets
98 % of the training and 96 % of the validation clips at 0.004, 100 and 98 at 0.01. That net is the baseline, and 0.01
the rate of all; both were chosen on these figures, before the searched nets were trained. 300 clips tell little of
nets this good: 98 % of them is a 95 % interval of 95.7 to 99.1 for one net."""


@dataclass(frozen=True)
class Settings:
    """Of the whole comparison; widths and depths are options a stage."""

    stem_width: int = 16
    widths: tuple[tuple[int, ...], ...] = ((16, 24, 32), (32, 48))
    depths: tuple[int, ...] = (1, 2)
    strides: tuple[int, ...] = (2, 2)
    search_epochs: int = 16
    budget: int = 30
    epochs: int = 16
    batch_size: int = 64
    learning_rate: float = 1e-2


SETTINGS = Settings()


COST = OperatorCost("macs", "MAC", lambda operator: float(ops.macs(operator)))


class Bands:
    """The clips behind the front end, a Data of images (1, frames, bands): what every training here reads."""

    def __init__(self, clips: Data, bands: int) -> None:
        given = (clips.facts["samples"], clips.facts["rate"])
        operator: Operator = front_end(*given, frame_ms=40, hop_ms=20, bands=bands)
        self.clips, self.name, self.notes, self.facts = clips, clips.name, clips.notes, clips.facts
        self.digest = digest([clips.digest, bands])
        self.inputs = {INPUT: Port(operator.output_shape)}
        self.held = {split: self._images(operator, split, count) for split, count in clips.sizes().items()}

    def _images(self, operator: Operator, split: str, count: int) -> torch.Tensor:
        parts = np.array_split(np.arange(count), -(-count // 256))
        return torch.cat(
            [ops.forward(operator, [self.clips.batch(split, some).images], {}, training=False) for some in parts]
        )

    def sizes(self) -> Mapping[str, int]:
        return self.clips.sizes()

    def targets(self, split: str) -> np.ndarray:
        return self.clips.targets(split)

    def batch(self, split: str, indices: np.ndarray | slice, augment: Any = None) -> Batch:
        return Batch({INPUT: self.held[split][indices]}, torch.from_numpy(self.targets(split)[indices]))


def behind(space: SearchSpace) -> SearchSpace:
    """The space `keywords` without its front end: it reads bands."""
    return replace(space, slots=space.slots[1:])


def space_of(settings: Settings, facts: Mapping[str, Any]) -> SearchSpace:
    given = {name: facts[name] for name in ("classes", "samples", "rate")}
    return behind(
        keywords(
            **given, stem_width=settings.stem_width, widths=settings.widths, depths=settings.depths,
            strides=settings.strides, precisions=("fp32",),
        )
    )  # fmt: skip


def found_by_search(settings: Settings, seed: int, data: Data) -> dict[str, Any]:
    """The choices picked on validation clips; a stopped training goes on from its last epoch."""
    space = space_of(settings, data.facts)
    net, costing = WeightSharing(space, seed), Costing(space, COST)
    schedule = Schedule(settings.search_epochs, settings.batch_size, settings.learning_rate, seed=seed)
    mark = digest([asdict(settings), seed, data.digest])
    train(net, SinglePath(space, seed), data, schedule, KEPT / f"search-{seed}.pt", mark)
    some = list(some_images(data, 256, seed))

    def score(architectures: Any) -> np.ndarray:
        nets = (recalibrate(extract(net, one), some) for one in architectures)
        return np.array([evaluate(one, data, "validation").accuracy for one in nets])

    bounds = costing.bounds()
    limits = {"macs": (bounds.low + bounds.high) / 2}
    sampler = RegularizedEvolution(space, seed)
    found = search(space, sampler, score, {"macs": costing}, limits, budget=settings.budget, seed=seed)
    return dict(found.pick.architecture)


def rivals(settings: Settings, found: Mapping[str, Any], seed: int, facts: Mapping[str, Any]) -> dict[str, Network]:
    """The networks that are compared, by name; all but the first of the cost that comes nearest to the first's."""
    space, rng = space_of(settings, facts), np.random.default_rng((seed, 11))
    first = space.lower(space.architecture(found))

    def far(network: Network) -> float:
        return abs(COST(network) - COST(first))

    drawn = [space.lower(space.random(rng)) for _ in range(300)]
    among = sorted(dict.fromkeys(net for net in drawn if net != first), key=far)[:20]  # of nearly equal cost
    picked = [among[i] for i in rng.choice(len(among), len(RANDOMS), replace=False)]
    halves = [2] * len(settings.strides)
    return {
        "searched": first,
        **dict(zip(RANDOMS, picked, strict=True)),
        HOMOGENEOUS: min((_one_width(width, halves, settings.strides, facts) for width in range(4, 97)), key=far),
        DS_CNN: min((_one_width(width, [4], [1], facts, DS_CNN_BANDS) for width in range(4, 97)), key=far),
    }


def _one_width(
    width: int, depths: Sequence[int], strides: Sequence[int], facts: Mapping[str, Any], bands: int = 40
) -> Network:
    """A strided stem and depthwise separable 3x3 blocks, all of one width."""
    given = {name: facts[name] for name in ("classes", "samples", "rate")}
    space = keywords(
        **given, bands=bands, stem_width=width, widths=[[width]] * len(depths), depths=[[depth] for depth in depths],
        strides=strides, kernels=[3], precisions=("fp32",),
    )  # fmt: skip
    return behind(space).lower(space.largest())


class Linear(torch.nn.Module):
    """Each band of each frame normalised, and one dense layer."""

    def __init__(self, network: Network, classes: int) -> None:
        super().__init__()
        count = int(np.prod(network.input_shape))
        self.normalise, self.dense = torch.nn.BatchNorm1d(count, affine=False), torch.nn.Linear(count, classes)

    def forward(self, bands: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.dense(self.normalise(bands.flatten(1)))
        return scores


def trained(settings: Settings, data: Data, network: Network, name: str, seed: int) -> dict[str, float]:
    """Accuracy on the official test clips, percent, of the net trained from scratch, and its cost."""
    torch.manual_seed(seed)
    schedule = Schedule(settings.epochs, settings.batch_size, settings.learning_rate, seed=seed)
    net: Any = Linear(network, data.facts["classes"]) if name == LINEAR else Net(network, seed)
    train(net, Plain(Classify()), data, schedule)
    if isinstance(net, Net):
        recalibrate(net, some_images(data, 512, seed))
    macs = net.dense.weight.numel() if name == LINEAR else COST(network)
    return {"accuracy": 100 * evaluate(net, data, "test").accuracy, "macs": float(macs)}


def measure(settings: Settings, seeds: int, clips: Data) -> dict[str, Any]:
    """Every figure, each kept as soon as it is there."""
    torch.set_num_threads(1)
    data, few = Bands(clips, 40), Bands(clips, DS_CNN_BANDS)
    file, mark = KEPT / "figures.json", digest([asdict(settings), data.digest, few.digest])
    kept = read_json(file) if file.exists() else {}
    figures: dict[str, Any] = kept if kept.get("mark") == mark else {"mark": mark, "seconds": 0.0}
    KEPT.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        own, begun = figures.setdefault(str(seed), {}), time.monotonic()
        if "found" not in own:
            own["found"] = found_by_search(settings, seed, data)
            begun = _keep(file, figures, begun)
        nets = rivals(settings, own["found"], seed, data.facts)
        for name, network in {**nets, LINEAR: nets["searched"]}.items():
            if name not in own:
                own[name] = trained(settings, few if name == DS_CNN else data, network, name, seed)
                begun = _keep(file, figures, begun)
                print(f"seed {seed}: {name} {own[name]['accuracy']:.1f}%", file=sys.stderr, flush=True)
    return figures


def _keep(file: Path, figures: dict[str, Any], begun: float) -> float:
    figures["seconds"] += time.monotonic() - begun
    write_json(file, figures)
    return time.monotonic()


def by_name(figures: Mapping[str, Any]) -> dict[str, list[dict[str, float]]]:
    """What every net got, a seed each; the random ones of a seed as their mean."""
    found: dict[str, list[dict[str, float]]] = {}
    for own in (figures[key] for key in sorted(figures) if key.isdigit()):
        middle = {key: mean([own[name][key] for name in RANDOMS]) for key in ("accuracy", "macs")}
        held = {name: own[name] for name in ("searched", DS_CNN, HOMOGENEOUS, LINEAR)}
        for name, got in {**held, "random, mean of four": middle}.items():
            found.setdefault(name, []).append(got)
    return found


def page(settings: Settings, figures: Mapping[str, Any]) -> str:
    """The section: what was done, a table, and whether the search paid."""
    listed = by_name(figures)
    rows = [
        f"| {name} | {shown([one['accuracy'] for one in seeds])} | {mean([one['macs'] for one in seeds]) / 1e6:.2f} |"
        for name, seeds in listed.items()
    ]
    gains = []
    for name in list(listed)[1:]:
        pairs = zip(listed["searched"], listed[name], strict=True)
        differences = [a["accuracy"] - b["accuracy"] for a, b in pairs]
        gain, half = interval(differences)
        told = (
            "one seed says nothing" if len(differences) < 2 else "told apart" if abs(gain) > half else "not told apart"
        )
        gains.append(f"over {name} {shown(differences)} points ({told})")
    return f"""{HEADING}

Free Spoken Digit Dataset, official test recordings (300 clips: one clip is 0.33 points), log-mel bands;
{len(listed["searched"])} seeds. Supernet: {settings.search_epochs} epochs; {settings.budget} architectures
scored on validation clips, at most the middle of the reachable multiply-accumulates; then every net from
scratch, {settings.epochs} epochs at a rate of {settings.learning_rate}, fp32. MACs are of the net behind the
front end, which has no parameters.
`python benchmarks/keywords.py keywords.npz --page`, {figures["seconds"] / 60:.0f} minutes.

| net | accuracy (%, mean ± 95 % interval over seeds) | million MACs |
|---|---:|---:|
{chr(10).join(rows)}

The searched net, paired by seed: {"; ".join(gains)}.

{WHY_TEN_BANDS}
"""


def main() -> int:
    parser = arguments(__doc__, seeds=3)
    parser.add_argument("archive")
    asked = parser.parse_args()
    data = load_data({"use": "audio", "path": asked.archive, "rate": 8000})
    figures = measure(SETTINGS, asked.seeds, data)
    if asked.page:
        write_section(HEADING, page(SETTINGS, figures))
    bars = [
        Bar(f"accuracy of {name}, mean of seeds, %", interval([one["accuracy"] for one in seeds])[0])
        for name, seeds in by_name(figures).items()
    ]
    return int(report("keywords", bars, asked.json))


if __name__ == "__main__":
    sys.exit(main())
