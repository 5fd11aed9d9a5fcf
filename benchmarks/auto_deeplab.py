"""Auto-DeepLab's path beside natural ones at equal cost: mIoU and Dice on digits pasted on photographs, several seeds.

    python benchmarks/auto_deeplab.py             a table; goes on from runs/auto_deeplab where it was stopped
    python benchmarks/auto_deeplab.py --json      the bars as JSON
    python benchmarks/auto_deeplab.py --page      writes its section of docs/results/inhabitants.md as well

A seed: search a relaxed supernet, decode the best path and the cell, then train it from scratch beside paths of one
stride, an hourglass path (the shape of a U-Net, without its long skips, which the space has not), all with the cell
that was found, and beside a random path with a random cell. Every rival has the width whose multiply-accumulates come
nearest to the searched net's. Digits, maps, schedule and number of steps are the same for all.
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
from bars import Bar, machine, report  # type: ignore[import-not-found]  # the files beside this one
from inhabitants import arguments, interval, told, write_section  # type: ignore[import-not-found]

from hwnas import ops
from hwnas.data import Data, load_data
from hwnas.methods.decoder.best_path import BestPath
from hwnas.methods.rule.auto_deeplab import AutoDeepLab
from hwnas.methods.rule.plain import Plain
from hwnas.paths import digest, read_json, write_json
from hwnas.space import Architecture, SearchSpace
from hwnas.spaces.auto_deeplab import CELL, Trellis, auto_deeplab, cell_name, stride_name
from hwnas.supernet import Net, WeightSharing, recalibrate
from hwnas.tasks.segment import Segment
from hwnas.train import Schedule, evaluate, some_images, train

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "runs" / "auto_deeplab"
HEADING = "## Auto-DeepLab: a path through strides, on maps of classes"


@dataclass(frozen=True)
class Settings:
    """Of the whole comparison. `search_width` and `width` are channels at the first stride, in search and at last.
    `travel` is the architecture's rate times its steps: Adam moves alpha and beta as far in few steps as in many.

    Chosen on one fixed path alone, before any search: see `CHOSEN`."""

    train: int = 1000
    test: int = 500
    digits: tuple[int, int] = (1, 2)
    sides: tuple[int, int] = (28, 40)
    kinds: tuple[int, ...] = (0, 1, 2, 3, 4)
    layers: int = 4
    strides: tuple[int, ...] = (4, 8, 16)
    operations: tuple[str, ...] = ("skip", "conv_3x3", "conv_5x5")
    search_width: int = 6
    width: int = 8
    search_epochs: int = 8
    search_batch_size: int = 10
    search_from: float = 0.5
    travel: float = 40.0
    epochs: int = 10
    batch_size: int = 20
    learning_rate: float = 1e-2

    @property
    def architecture_rate(self) -> float:
        """The rate of alpha and beta that makes their way `travel` long."""
        steps = self.train // 2 // self.search_batch_size * self.search_epochs
        return self.travel / (steps * (1 - self.search_from))


SETTINGS = Settings()
CHOSEN = """Digits, kinds, width and rate were chosen on the path 4 4 4 4 with 3x3 convolutions alone, on validation
images, before anything was searched here: of ten kinds of 28 to 40 pixels, one or two an image, 8 channels reached 21 %
after 15 epochs at this rate; of five kinds 33 % after 6. (A comparison before this one had ten kinds of 14 to 24
pixels, three to five an image, and 6 channels: 11 % on test images, where background everywhere had 7, so that nothing
could be told.) How long is searched and trained follows from the forty minutes that a comparison may take."""
RANDOM = "random path, random cell"
NOT_RIVALS = ("found", "sure")  # what is kept of a seed besides
VALIDATION = 200


def data(settings: Settings) -> Data:
    sizes = {"train": settings.train, "validation": VALIDATION, "test": settings.test}
    pasted = {name: list(getattr(settings, name)) for name in ("digits", "sides", "kinds")}
    return load_data({"use": "pasted_digits", **sizes, **pasted})


def space(settings: Settings, facts: Mapping[str, Any], width: int) -> SearchSpace:
    shape: dict[str, Any] = {"layers": settings.layers, "strides": settings.strides, "operations": settings.operations}
    return auto_deeplab(**facts, **shape, width=width, precisions=("fp32",))


def found_by_search(settings: Settings, seed: int, loaded: Data) -> tuple[Architecture, float]:
    """The best path and cell after the relaxed supernet is trained, and how sure it is: the mean over nodes of the
    largest weight that leaves one. A stopped search goes on from its last epoch."""
    searched = space(settings, loaded.facts, settings.search_width)
    net = WeightSharing(searched, seed)
    rule = AutoDeepLab(
        searched, Segment(), seed, search_from=settings.search_from, architecture_rate=settings.architecture_rate
    )
    schedule = Schedule(settings.search_epochs, settings.search_batch_size, seed=seed)
    mark = digest([asdict(settings), seed, loaded.digest])
    train(net, rule, loaded, schedule, KEPT / f"search-{mark}.pt", mark)
    sure = float(np.mean([float(torch.softmax(beta.detach(), 0).max()) for beta in rule.beta.values()]))
    return BestPath(rule).decode(net, rule, searched, lambda architectures: np.zeros(len(architectures))), sure


def path_of(architecture: Mapping[str, Any], layers: int) -> list[int]:
    return [int(architecture[stride_name(layer)]) for layer in range(1, layers + 1)]


def hourglass(layers: int, strides: Sequence[int]) -> list[int]:
    """Down by one stride a layer, on at the last, and up again to the first at the end."""
    down = list(strides[1:])
    up = down[-2::-1] + [strides[0]]
    return [*down, *[down[-1]] * (layers - len(down) - len(up)), *up]


def random_path(trellis: Trellis, rng: np.random.Generator) -> list[int]:
    path = [trellis.strides[0]]
    for layer in range(trellis.layers):
        path.append(int(rng.choice(trellis.targets(layer, path[-1]))))
    return path[1:]


def rivals(settings: Settings, found: Architecture, seed: int) -> dict[str, dict[str, Any]]:
    """What is compared: a name, and the choices of its architecture."""
    trellis, rng = Trellis(settings.layers, settings.strides), np.random.default_rng((seed, 7))
    cell = {cell_name(*edge): found[cell_name(*edge)] for edge in CELL}
    drawn = {cell_name(*edge): str(rng.choice(settings.operations)) for edge in CELL}
    paths: dict[str, list[int]] = {"searched": path_of(found, settings.layers)}
    paths |= {f"all at stride {stride}": [stride] * settings.layers for stride in settings.strides}
    paths["hourglass"] = hourglass(settings.layers, settings.strides)
    paths[RANDOM] = random_path(trellis, rng)
    return {
        name: {
            **{stride_name(i + 1): stride for i, stride in enumerate(path)},
            **(drawn if name == RANDOM else cell),
            "precision": "fp32",
        }
        for name, path in paths.items()
    }


def macs_of(settings: Settings, facts: Mapping[str, Any], choices: Mapping[str, Any], width: int) -> int:
    return sum(map(ops.macs, space(settings, facts, width).lower(choices).operators))


def trained(settings: Settings, loaded: Data, choices: Mapping[str, Any], width: int, seed: int) -> dict[str, float]:
    """mIoU and Dice on test images of the net trained from scratch, and what it costs."""
    network = space(settings, loaded.facts, width).lower(choices)
    schedule = Schedule(settings.epochs, settings.batch_size, settings.learning_rate, seed=seed)
    net = Net(network, seed)
    train(net, Plain(Segment()), loaded, schedule)
    recalibrate(net, some_images(loaded, 500, seed))
    scores = {metric: evaluate(net, loaded, "test", task=Segment(metric)).accuracy for metric in ("mIoU", "Dice")}
    return {**scores, "macs": float(sum(map(ops.macs, network.operators)))}


def measure(settings: Settings, seeds: int) -> dict[str, Any]:
    """Every figure, each kept as soon as it is there."""
    torch.set_num_threads(1)
    loaded = data(settings)
    mark = digest([asdict(settings), loaded.digest])
    file = KEPT / f"figures-{mark}.json"
    kept = read_json(file) if file.exists() else {}
    figures: dict[str, Any] = kept if kept.get("mark") == mark else {"mark": mark, "seconds": 0.0}
    figures["background"] = background(loaded)
    for seed in range(seeds):
        own = figures.setdefault(str(seed), {})
        begun = time.monotonic()
        if "found" not in own:
            found, own["sure"] = found_by_search(settings, seed, loaded)
            own["found"] = dict(found)
            _keep(file, figures, begun)
        listed = rivals(settings, Architecture(own["found"]), seed)
        wanted = macs_of(settings, loaded.facts, listed["searched"], settings.width)
        for name, choices in listed.items():
            if name in own:
                continue
            begun = time.monotonic()
            widths = range(2, 4 * settings.width)
            width = min(widths, key=lambda w: abs(macs_of(settings, loaded.facts, choices, w) - wanted))
            path = path_of(choices, settings.layers)
            own[name] = {**trained(settings, loaded, choices, width, seed), "width": width, "path": path}
            _keep(file, figures, begun)
            print(f"seed {seed}: {name} {path} mIoU {own[name]['mIoU']:.1%}", file=sys.stderr, flush=True)
    return figures


def background(loaded: Data) -> dict[str, float]:
    """What the answer "background" everywhere scores on the test images."""
    maps = loaded.targets("test")
    answer = np.zeros((len(maps), int(loaded.facts["classes"]), *maps.shape[1:]), np.float32)
    answer[:, 0] = 1.0
    tasks = {metric: Segment(metric) for metric in ("mIoU", "Dice")}
    return {metric: task.reduce(task.statistics(answer, maps)) for metric, task in tasks.items()}


def _keep(file: Path, figures: dict[str, Any], begun: float) -> None:
    figures["seconds"] += time.monotonic() - begun
    KEPT.mkdir(parents=True, exist_ok=True)
    write_json(file, figures)


def _gain(seeds: Sequence[Mapping[str, Any]], rival: str) -> tuple[float, float, str]:
    """What the searched net has above a rival, paired by seed, in points of mIoU; half its interval; and a verdict."""
    gain, half = interval([100 * (seed["searched"]["mIoU"] - seed[rival]["mIoU"]) for seed in seeds])
    return gain, half, told(gain, half)


def page(settings: Settings, figures: Mapping[str, Any]) -> str:
    """The section: what was done, a table, and whether the search paid."""
    seeds = [figures[key] for key in sorted(figures) if key.isdigit()]
    names = [name for name in seeds[0] if name not in NOT_RIVALS]
    rows = []
    for name in names:
        scores = [interval([100 * seed[name][metric] for seed in seeds]) for metric in ("mIoU", "Dice")]
        cost = np.mean([seed[name]["macs"] for seed in seeds]) / 1e6
        shown = " | ".join(f"{mean:.1f} ± {half:.1f}" for mean, half in scores)
        rows.append(f"| {name} | {shown} | {cost:.2f} |")
    nothing = figures["background"]
    rows.append(f"| background everywhere | {100 * nothing['mIoU']:.1f} | {100 * nothing['Dice']:.1f} | |")
    fixed = [name for name in names if name not in ("searched", RANDOM)]
    best = max(fixed, key=lambda name: float(np.mean([seed[name]["mIoU"] for seed in seeds])))
    gain, half, verdict = _gain(seeds, best)
    same = sum(seed["searched"]["path"] == seed[best]["path"] for seed in seeds)
    random = "{2} the random path with a random cell: {0:+.1f} ± {1:.1f}".format(*_gain(seeds, RANDOM))
    paths = "; ".join(
        " ".join(map(str, seed["searched"]["path"])) + ", " + " ".join(str(seed["found"][cell_name(*e)]) for e in CELL)
        for seed in seeds
    )
    sure = float(np.mean([seed["sure"] for seed in seeds]))
    strides, operations = ", ".join(map(str, settings.strides)), ", ".join(settings.operations)
    return f"""{HEADING}

Task: `pasted_digits` ({settings.train} training and {settings.test} test images of 48x48, built from real pixels: no
labelled segmentation set was to be had), {settings.digits[0]} to {settings.digits[1]} digits of
{settings.sides[0]} to {settings.sides[1]} pixels, kinds {", ".join(map(str, settings.kinds))}; mIoU over
{len(settings.kinds) + 1} classes, {len(seeds)} seeds. Search: {settings.layers} layers, strides {strides}, operations
{operations}, {settings.search_epochs} epochs at width {settings.search_width}; alpha and beta from
{settings.search_from:.0%} of them on, at a rate of {settings.architecture_rate:.3f}: rate times steps is
{settings.travel:g}, for which the paper's 0.003 would take {settings.travel / 0.003:,.0f} steps. Then every net from
scratch, {settings.epochs} epochs, width {settings.width} or that of the nearest cost.
`python benchmarks/auto_deeplab.py --page`, {figures["seconds"] / 60:.0f} minutes.

| path | mIoU (%, mean ± 95 % interval) | Dice (%) | million MACs |
|---|---:|---:|---:|
{chr(10).join(rows)}

The searched path **{verdict}** the best fixed one ({best}): {gain:+.1f} ± {half:.1f} points of mIoU, paired by seed;
it {random}. {same} of {len(seeds)} seeds found that fixed path itself, and then both nets are one.
Found (strides, then the cell's operators): {paths}. The heaviest edge held {sure:.0%} of what
leaves a node, on average: the nearer to even shares, the more of the pick was chance.

{CHOSEN}
"""


def bars(figures: Mapping[str, Any]) -> list[Bar]:
    seeds = [figures[key] for key in sorted(figures) if key.isdigit()]
    return [
        Bar(f"mIoU of {name}, mean of {len(seeds)} seeds, %", interval([100 * seed[name]["mIoU"] for seed in seeds])[0])
        for name in seeds[0]
        if name not in NOT_RIVALS
    ]


def main() -> int:
    asked = arguments(__doc__, seeds=3).parse_args()
    figures = measure(SETTINGS, asked.seeds)
    if asked.page:
        write_section(HEADING, page(SETTINGS, figures))
        print(machine(), file=sys.stderr)
    return int(report("auto_deeplab", bars(figures), asked.json))


if __name__ == "__main__":
    sys.exit(main())
