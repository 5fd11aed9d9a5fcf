"""The run file: one YAML, checked whole before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from hwnas.errors import HwnasError, nearest_names
from hwnas.plug import HWNAS_ALONE, Trust
from hwnas.samples import STATISTICS
from hwnas.units import positive
from hwnas.yaml_text import read_yaml

# limit name -> (cost it bounds, factor to the cost's own unit)
# `latency_us` is the minimum; the other statistics are named (`latency_p90_ms`), since each has a noise of its own.
LIMITS: Mapping[str, tuple[str, float]] = {
    "latency_us": ("latency", 1.0),
    "latency_ms": ("latency", 1e3),
    **{
        f"latency_{statistic}_{unit}": ("latency", factor)
        for statistic in STATISTICS[1:]
        for unit, factor in (("us", 1.0), ("ms", 1e3))
    },
    "energy_uj": ("energy", 1.0),
    "energy_mj": ("energy", 1e3),
    "size_bytes": ("size", 1.0),
    "size_kb": ("size", 1e3),
    "size_mb": ("size", 1e6),
    "peak_memory_bytes": ("peak_memory", 1.0),
    "peak_memory_kb": ("peak_memory", 1e3),
    "peak_memory_mb": ("peak_memory", 1e6),
}


DEFAULT_SAMPLER = "search.regularized_evolution:RegularizedEvolution"  # measured best: docs/results/samplers.md


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(Strict):
    """A model to ship: every block of this precision (or each block its own, `mixed`), run by this engine."""

    precision: Literal["fp32", "int8", "w1a1", "mixed"]
    engine: Literal["onnxruntime", "tvm"]

    @property
    def name(self) -> str:
        return f"{self.precision}-{self.engine}"


class TrainSettings(Strict):
    """`rule` names a training rule, `wrapper` what changes the supernet that it trains; `finetune_epochs` trains each
    winner further (absent: while it pays, no longer than the supernet; 0: not at all); `threads` are torch's, all cores
    by default; `workers` load batches ahead (absent: as many as pay); the rest is hwnas.train.Schedule."""

    rule: dict[str, Any] = Field(default_factory=lambda: {"use": "rule.sandwich:Sandwich"})
    wrapper: dict[str, Any] | None = None
    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup: int = Field(default=20, ge=0)
    shift: int = Field(default=0, ge=0)
    flip: bool = False
    bf16: bool = False
    finetune_epochs: int | None = Field(default=None, ge=0)
    threads: int | None = Field(default=None, ge=1)
    workers: int | None = Field(default=None, ge=0)


class SearchSettings(Strict):
    sampler: dict[str, Any] = Field(default_factory=lambda: {"use": DEFAULT_SAMPLER})
    budget: int = Field(default=150, ge=1)
    batch: int = Field(default=4, ge=1)  # told more often, a sampler needs fewer: docs/results/samplers.md
    recalibration_images: int = Field(default=512, ge=2)


class CardSettings(Strict):
    """Random whole networks: `fit` calibrate the tables, `test` grade them."""

    fit: int = Field(default=20, ge=5)
    test: int = Field(default=20, ge=5)


Package = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class RunFile(Strict):
    """Everything one run needs. `preprocess: inside` makes resizing and normalising part of the exported model."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    device: str = "local"
    threads: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    tables: Path = Path("latency_tables")
    out: Path = Path("runs")
    keep_stale: bool = False  # rows of another engine version stay instead of being measured again
    data: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Any]
    task: dict[str, Any] = Field(default_factory=lambda: {"use": "classify"})
    preprocess: Literal["inside", "outside"] = "outside"
    train: TrainSettings = TrainSettings()
    search: SearchSettings = SearchSettings()
    limits: dict[str, float]
    targets: list[Target] = Field(min_length=1)
    card: CardSettings = CardSettings()
    plugins: list[Package] = []
    _trust: Trust = PrivateAttr(default=HWNAS_ALONE)  # no key of the file: who runs it decides

    @field_validator("limits", mode="before")
    @classmethod
    def _known_limits(cls, limits: Any) -> Any:
        if not isinstance(limits, dict) or not limits:
            raise ValueError("give at least one limit, for example latency_ms: 0.5")
        for name, value in limits.items():
            if name not in LIMITS:
                near = nearest_names(str(name), LIMITS)
                raise ValueError(f"unknown limit {name!r}; nearest: {', '.join(near) or ', '.join(LIMITS)}")
            positive(value, f"limit {name}")
        costs = [LIMITS[name][0] for name in limits]
        if len(set(costs)) < len(costs):
            raise ValueError(f"the same quantity is limited twice: {', '.join(limits)}")
        return limits

    @field_validator("targets")
    @classmethod
    def _different_targets(cls, targets: list[Target]) -> list[Target]:
        if len({t.name for t in targets}) < len(targets):
            raise ValueError("the same target is listed twice")
        return targets

    @property
    def folder(self) -> Path:
        """Where this run keeps everything it makes."""
        return self.out / self.name

    @property
    def trust(self) -> Trust:
        """Where names in this file may lead."""
        return self._trust

    @property
    def statistic(self) -> str:
        """Which statistic of the latency is limited, predicted and judged: "min" unless a limit names another."""
        named = (name.split("_")[1] for name in self.limits if LIMITS[name][0] == "latency")
        return next((part for part in named if part in STATISTICS), "min")

    @property
    def cost_limits(self) -> dict[str, float]:
        """Limits by cost name, in the cost's own unit (us, uJ, bytes)."""
        return {LIMITS[name][0]: value * LIMITS[name][1] for name, value in self.limits.items()}


def read_run_file(
    path: Path,
    out: Path | None = None,
    limits: Mapping[str, float] | None = None,
    device: str | None = None,
    trust: Sequence[str] = (),
) -> RunFile:
    """The checked run file; `trust` are packages that it may name besides those it lists itself (--trust).

    HwnasError names the file, the key and the nearest known key.
    """
    if not Path(path).exists():
        raise HwnasError(f"run file {path} does not exist", hint="examples/quickstart.yaml is one to start from")
    loaded = read_yaml(Path(path))
    if not isinstance(loaded, dict):
        raise HwnasError(f"{path} must hold keys such as name, data, space and limits")
    if out is not None:
        loaded["out"] = str(out)
    if limits:
        loaded["limits"] = dict(limits)
    if device is not None:
        loaded["device"] = device
    try:
        config = RunFile.model_validate(loaded)
    except HwnasError as problem:
        raise HwnasError(f"{path}: {problem.message}", nearest=problem.nearest, hint=problem.hint) from None
    except ValidationError as problem:
        raise _refused(path, problem) from None
    config._trust = Trust(Path(path).resolve().parent, tuple(config.plugins), tuple(trust))
    return config


def _refused(path: Path, problem: ValidationError) -> HwnasError:
    """The first of pydantic's complaints in our words."""
    first = problem.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_at(first["loc"][:-1])
        return HwnasError(
            f"{path}: unknown key {where!r}",
            nearest=nearest_names(str(first["loc"][-1]), known),
            hint=f"known: {', '.join(known)}",
        )
    if first["type"] == "missing":
        return HwnasError(f"{path}: {where} must be given")
    message = first["msg"].removeprefix("Value error, ")
    shown = f", got {first['input']!r}" if not isinstance(first["input"], dict | list) else ""
    return HwnasError(f"{path}: {where}: {message[0].lower()}{message[1:]}{shown}")


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys the model at this place of the run file takes."""
    model: Any = RunFile
    for part in location:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = Target if part == "targets" else annotation
    return list(model.model_fields)
