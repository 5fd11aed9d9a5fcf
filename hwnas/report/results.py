"""Results: everything a run found, as one JSON file with a schema version; both reports are drawn from it alone.

Latencies are microseconds, sizes bytes, energies microjoules, accuracies fractions of 1. A cost and the limit of the
same name share one unit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from hwnas.errors import HwnasError
from hwnas.paths import read_json, write_json
from hwnas.schema import validated

SCHEMA = 2
READABLE = (1, 2)  # format 1 lacks what has a default below
FILE_NAME = "results.json"

Scalar = int | float | str | bool
Role = Literal["winner", "fp32 twin"]


@dataclass(frozen=True, slots=True)
class Device:
    """The machine that was measured."""

    name: str
    model: str
    digest: str


@dataclass(frozen=True, slots=True)
class Task:
    """What the accuracies of a run are: the metric's name, its unit ("%" for a share), and the name of its baseline."""

    metric: str = "accuracy"
    unit: str = "%"
    baseline: str = "linear classifier"


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was trained and tested on; `input_shape` is that of the first input, for images (channels, height, width);
    `classes` is 0 where there are none."""

    name: str
    classes: int
    input_shape: tuple[int, ...]
    train: int = 0
    validation: int = 0
    test: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """The hard upper limit on one cost."""

    name: str
    unit: str
    value: float


@dataclass(frozen=True, slots=True)
class Reach:
    """The exact range of one cost over the space of one target, before any search."""

    target: str
    name: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Block:
    """One operator of the winner with its predicted latency, and that of the same block in fp32 (`twin_us`)."""

    name: str
    operator: str
    precision: str
    predicted_us: float
    twin_us: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One exported file as it was verified and timed.

    `accuracy` is of the test split, in the task's metric, `accuracy_low` and `accuracy_high` its 95 % interval;
    `float_accuracy` is that of the same weights before quantising. `validation_accuracy` and
    `validation_loss` decide what is shipped. `verdicts` says of every limited quantity whether the file keeps it;
    `limit_ok` whether it keeps all, None where nothing is judged. `weight_bytes` are the constants alone,
    `size_bytes` the ONNX file, `file_bytes` what is copied to the device. `arena_bytes` is the memory a compiled
    program asks for; `peak_bytes` an estimate from shapes. `samples` timed samples stand behind the latencies.
    `test_images` is how many of the test split the file was run on (None: all; large images are too many to keep
    beside every file). `trained_further` is None where the weights are the supernet's. `not_timed` says why nothing
    was timed: then the limits on latency and energy are judged on what is predicted.
    """

    precision: str
    engine: str
    role: Role
    accuracy: float
    predicted_us: float | None
    measured_us: float | None
    p50_us: float | None
    p90_us: float | None
    size_bytes: int
    peak_bytes: int | None
    energy_uj: float | None
    limit_ok: bool | None
    verified: str
    file: str
    weight_bytes: int | None = None
    p99_us: float | None = None
    samples: int | None = None
    arena_bytes: int | None = None
    file_bytes: int | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    float_accuracy: float | None = None
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    verdicts: dict[str, bool] = field(default_factory=dict)
    trained_further: dict[str, float] | None = None
    test_images: int | None = None
    not_timed: str | None = None
    predicted_uj: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One architecture the search evaluated; `accuracy` is the supernet's estimate."""

    accuracy: float
    costs: dict[str, float]
    precision: str


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One architecture that no other beats in accuracy and in every cost."""

    accuracy: float
    costs: dict[str, float]
    architecture: dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Target:
    """One (precision, engine) that was searched for and exported, with its fp32 twin."""

    precision: str
    engine: str
    architecture: dict[str, Scalar]
    blocks: tuple[Block, ...]
    rows: tuple[Row, ...]
    front: tuple[FrontPoint, ...] = ()
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """How well a latency table predicts whole networks it never saw. Errors and shares are fractions of 1."""

    mape: float
    within_10: float
    spearman: float
    noise_floor: float
    baseline_mape: float
    baseline_spearman: float
    n_test: int


@dataclass(frozen=True, slots=True)
class Ship:
    """The answer of a run: the one file to ship, and why in one sentence. No file: none is within every limit."""

    file: str | None
    precision: str | None
    engine: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Results:
    """One run. `cards` is keyed `<engine>-<precision>`; `seconds` and `versions` by stage and by package.

    `earlier` are files that stand in the run's folder from earlier runs, as their manifests have them. `drift` is, by
    table, the share by which rows timed again beside the exports differ from the rows the search read. `task` is None
    for classification: what every accuracy here is then.
    """

    run: str
    device: Device
    dataset: Dataset
    limits: tuple[Limit, ...]
    targets: tuple[Target, ...]
    statistic: str = "min"
    cards: dict[str, Card] = field(default_factory=dict)
    linear_baseline_accuracy: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    reachable: tuple[Reach, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    seed: int = 0
    notes: tuple[str, ...] = ()
    ship: Ship | None = None
    earlier: tuple[Row, ...] = ()
    drift: dict[str, float] = field(default_factory=dict)
    task: Task | None = None
    format: int = SCHEMA

    @property
    def measure(self) -> Task:
        """What the accuracies are."""
        return self.task or Task()

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        record = asdict(self)
        if self.task is None:  # classification is written as it was before there were tasks
            del record["task"]
        write_json(path, record)


def load_results(path: Path) -> Results:
    """The results in a run folder or in a `results.json`; HwnasError names the file and the key that is wrong."""
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():
        raise HwnasError(f"{path} does not exist", hint="a run writes it when it ends: hwnas run <run file>")
    return parse_results(read_json(path), str(path))


def parse_results(value: Any, where: str) -> Results:
    """`value` (from JSON) as Results."""
    if not isinstance(value, dict) or value.get("format") not in READABLE:
        got = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise HwnasError(
            f"{where} must be results of format {' or '.join(map(str, READABLE))}, got {got!r}",
            hint="run `hwnas run` again",
        )
    return validated(Results, {**value, "format": SCHEMA}, where, hint="run `hwnas run` again")
