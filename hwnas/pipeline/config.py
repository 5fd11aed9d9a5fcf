"""The run file: one YAML, checked whole before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from hwnas import find, formats
from hwnas.errors import HwnasError, nearest_names
from hwnas.plug import HWNAS_ALONE, Trust, activate
from hwnas.samples import STATISTICS
from hwnas.units import positive
from hwnas.yaml_text import read_yaml

DEFAULT_RULE = "rule.sandwich:Sandwich"
DEFAULT_SAMPLER = "search.regularized_evolution:RegularizedEvolution"  # measured best: docs/results/samplers.md


# What `use` stands for where a section names none; a method that another asks for (the predictor of a sampler) is this
# one unless the run file names it.
DEFAULTS: Mapping[str, str] = {
    "sampler": DEFAULT_SAMPLER,
    "scorer": "scorer.validation:Validation",
    "predictor": "predictor.ridge:Ridge",
    "decoder": "decoder.argmax:Argmax",
    "proxy": "proxy.synflow:SynFlow",
}


def known_limits() -> dict[str, tuple[str, float]]:
    """limit name -> (cost it bounds, factor to the cost's own unit), from every file of methods/cost."""
    found: dict[str, tuple[str, float]] = {}
    for cost in find.names("methods.cost"):
        for name, factor in find.value("methods.cost", cost, "LIMITS").items():
            if name in found:
                raise HwnasError(f"limit {name!r} is defined by both cost.{found[name][0]} and cost.{cost}")
            found[name] = cost, float(factor)
    return found


def cost_unit(cost: str) -> str:
    """The unit of a cost, for example "us"."""
    return str(find.value("methods.cost", cost, "UNIT"))


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


MIXED = "mixed"  # a target whose blocks have a precision each


class Target(Strict):
    """A model to ship: every block of this precision (or each block its own, `mixed`), run by this engine."""

    precision: str
    engine: str

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, engine: str) -> str:
        if not find.has("engines", engine):
            known = find.names("engines")
            near = nearest_names(engine, known)
            nearest = f"; nearest: {', '.join(near)}" if near else ""
            raise ValueError(f"unknown engine{nearest}; known: {', '.join(known)}")
        return engine

    @field_validator("precision")
    @classmethod
    def _known_precision(cls, precision: str) -> str:
        if precision != MIXED and not find.has("formats", precision):
            known = (*formats.names(), MIXED)
            near = nearest_names(precision, known)
            raise ValueError(f"must be one of {', '.join(known)}" + f"; nearest: {', '.join(near)}" * bool(near))
        return precision

    @property
    def name(self) -> str:
        return f"{self.precision}-{self.engine}"


class TrainSettings(Strict):
    """`rule` names a training rule, `wrapper` what changes the supernet that it trains; `finetune_epochs` trains each
    winner further (absent: while it pays, no longer than the supernet; 0: not at all); `threads` are torch's, all cores
    by default; `workers` load batches ahead (absent: as many as pay); the rest is hwnas.train.Schedule."""

    rule: dict[str, Any] = Field(default_factory=lambda: {"use": DEFAULT_RULE})
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
    """`decoder` reads the architecture out of the trained supernet instead of a sampler's search; `scorer`, `predictor`
    and `proxy` are what these are given where they ask for one (absent: DEFAULTS)."""

    sampler: dict[str, Any] = Field(default_factory=lambda: {"use": DEFAULT_SAMPLER})
    scorer: dict[str, Any] | None = None
    predictor: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None
    proxy: dict[str, Any] | None = None
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
        known = known_limits()
        for name, value in limits.items():
            if name not in known:
                near = nearest_names(str(name), known)
                raise ValueError(f"unknown limit {name!r}; nearest: {', '.join(near) or ', '.join(known)}")
            positive(value, f"limit {name}")
        costs = [known[name][0] for name in limits]
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
        named = (name.split("_")[1] for name in self.limits if known_limits()[name][0] == "latency")
        return next((part for part in named if part in STATISTICS), "min")

    @property
    def cost_limits(self) -> dict[str, float]:
        """Limits by cost name, in the cost's own unit (us, uJ, bytes)."""
        known = known_limits()
        return {known[name][0]: value * known[name][1] for name, value in self.limits.items()}


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
    trusted = Trust(Path(path).resolve().parent, _packages(loaded.get("plugins")), tuple(trust))
    try:
        activate(trusted)  # before the rest is checked: a package may add what the limits name
        config = RunFile.model_validate(loaded)
    except HwnasError as problem:
        raise HwnasError(f"{path}: {problem.message}", nearest=problem.nearest, hint=problem.hint) from None
    except ValidationError as problem:
        raise _refused(path, problem) from None
    config._trust = trusted
    return config


def _packages(plugins: Any) -> tuple[str, ...]:
    """The names under `plugins:` that are names; what is none is refused with the rest of the run file."""
    listed = plugins if isinstance(plugins, list) else []
    return tuple(name for name in listed if isinstance(name, str) and name.isidentifier())


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
