"""DeviceProfile: what is known of a device, from a YAML file in which every number names its source."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from hwnas import find
from hwnas.errors import HwnasError, nearest_names
from hwnas.paths import digest
from hwnas.yaml_text import read_yaml

NO_BOARD, MADE_UP = "none", "made-up"  # what a profile may say instead of a board's name
T = TypeVar("T")
NAME = r"[a-z0-9][a-z0-9._-]*"
# What `hwnas devices --json` prints besides the profile: it follows from the rest, so a file may carry it or not.
DERIVED = ("digest", "folder", "advice")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Fact(_Strict, Generic[T]):
    """A value and the document, file or command it comes from."""

    value: T
    source: str = Field(min_length=4)


class Cpu(_Strict):
    """The processor. Frequencies are the rated maximum; caches are of one core (L1, L2) or shared (L3)."""

    model: Fact[str]
    isa: Fact[list[str]]
    cores: Fact[PositiveInt] | None = None
    freq_mhz: Fact[PositiveFloat] | None = None
    l1d_bytes: Fact[PositiveInt] | None = None
    l2_bytes: Fact[PositiveInt] | None = None
    l3_bytes: Fact[PositiveInt] | None = None
    governor: Fact[str] | None = None


def _formats(rates: dict[str, float]) -> dict[str, float]:
    for name in rates:
        if not find.has("formats", name):
            known = find.names("formats")
            raise ValueError(f"there is no format {name!r}; nearest: {', '.join(nearest_names(name, known) or known)}")
    return rates


# A quantity for each of some formats: another of the same arithmetic is charged like the most precise of them.
Rates = Annotated[dict[str, PositiveFloat], Field(min_length=1), AfterValidator(_formats)]


class MadeUpCosts(_Strict):
    """What the null device charges a block: dispatch + macs / rate + bytes moved / rate; energy per MAC and byte."""

    dispatch_us: Fact[PositiveFloat]
    macs_per_us: Fact[Rates]
    bytes_per_us: Fact[PositiveFloat]
    picojoules_per_mac: Fact[Rates]
    picojoules_per_byte: Fact[PositiveFloat]


def _known_board(name: str) -> str:
    if name not in (NO_BOARD, MADE_UP) and not find.has("boards", name):
        raise ValueError(f"input should be a board: {', '.join((*find.names('boards'), NO_BOARD, MADE_UP))}")
    return name


def _known_engine(name: str) -> str:
    if not find.has("engines", name):
        raise ValueError(f"input should be an engine: {', '.join(find.names('engines'))}")
    return name


BoardName = Annotated[str, AfterValidator(_known_board)]
EngineName = Annotated[str, AfterValidator(_known_engine)]


class DeviceProfile(_Strict):
    """One device. `connection` names its board (hwnas/boards): 'local' runs here; 'none' is measured elsewhere, and
    'made-up' is the null board."""

    format: Literal[1]
    name: str = Field(pattern=f"^{NAME}$")
    description: str
    connection: BoardName
    target: str
    engines: list[EngineName] = Field(min_length=1)
    cpu: Cpu
    memory_bytes: Fact[PositiveInt] | None = None
    flash_bytes: Fact[PositiveInt] | None = None
    settings: dict[str, str | int | float | bool] | None = None  # the board's own: an address, a port
    costs: MadeUpCosts | None = None

    @property
    def board(self) -> str | None:
        """The board's name; None where there is none."""
        return None if self.connection == NO_BOARD else "null" if self.connection == MADE_UP else self.connection

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits over what decides a latency; core count, memory, governor and sources are left out."""
        cpu = {k: v["value"] for k, v in self.cpu.model_dump(exclude={"governor", "cores"}).items() if v is not None}
        cpu["isa"] = sorted(cpu["isa"])
        costs = None if self.costs is None else {k: v["value"] for k, v in self.costs.model_dump().items()}
        return digest({"target": self.target, "cpu": cpu, "costs": costs})

    @cached_property
    def folder(self) -> str:
        """The device's folder under latency_tables/; a probed machine's carries its digest: two never mix."""
        return f"local-{self.digest[:8]}" if self.name == "local" else self.name

    def describe(self) -> dict[str, Any]:
        """The profile as plain JSON values, without the fields it does not know."""
        return self.model_dump(mode="json", exclude_none=True) | {"digest": self.digest, "folder": self.folder}


def profile_text(profile: DeviceProfile) -> str:
    """The profile as the YAML file that `read_profile` reads, each fact with its source on a line."""
    import yaml

    data = profile.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=4096, allow_unicode=True)


def read_profile(path: Path) -> DeviceProfile:
    """The profile in one YAML file; HwnasError names the file and the line or key that is wrong."""
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise HwnasError(f"{path} must hold a mapping of keys to values, got {type(data).__name__}")
    try:
        profile = DeviceProfile.model_validate({key: value for key, value in data.items() if key not in DERIVED})
    except ValidationError as problem:
        raise _profile_error(path, problem) from None
    if (profile.board == "null") != (profile.costs is not None):
        raise HwnasError(f"{path}: `costs` must be given if, and only if, connection is made-up")
    return profile


def _profile_error(path: Path, problem: ValidationError) -> HwnasError:
    """One of pydantic's findings as one line: file, key, what is wrong, and the nearest key.

    An unknown key comes before a missing one: a misspelt key is both, and its spelling is what to correct.
    """
    findings = problem.errors(include_url=False)
    finding = next((found for found in findings if found["type"] == "extra_forbidden"), findings[0])
    where = [str(part) for part in finding["loc"] if not str(part).startswith("Fact[")]
    key = ".".join(where)
    if finding["type"] == "extra_forbidden":
        known = _keys_at(DeviceProfile, where[:-1])
        return HwnasError(
            f"{path}: unknown key {key!r}", nearest=nearest_names(where[-1], known), hint=f"it takes {', '.join(known)}"
        )
    if finding["type"] == "missing":
        return HwnasError(
            f"{path}: key {key!r} must be given", hint="every number is a mapping of `value` and `source`"
        )
    got = finding["input"]
    shown = type(got).__name__ if isinstance(got, dict | list) else repr(got)
    hint = "every number is a mapping of `value` and `source`" if finding["type"] == "model_type" else None
    return HwnasError(f"{path}: {key}: {finding['msg'].removeprefix('Value error, ').lower()}, got {shown}", hint=hint)


def _keys_at(model: type[BaseModel], where: list[str]) -> list[str]:
    """The keys that the model reached by following `where` takes."""
    for name in where:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        inner = [part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _parts(annotation: Any) -> list[Any]:
    """A union's members, or the annotation itself."""
    return list(getattr(annotation, "__args__", ())) or [annotation]
