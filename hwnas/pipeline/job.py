"""Job: what all stages of a run share: the checked run file, the device, the space of every target, the kept stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.device import DeviceProfile, load_device
from hwnas.errors import HwnasError
from hwnas.measure.fill import Renewal
from hwnas.network import Operator
from hwnas.paths import digest, read_json, write_json
from hwnas.pipeline.config import RunFile, Target
from hwnas.pipeline.facts import FACTS, check_facts, given_facts
from hwnas.plug import bind, resolve
from hwnas.space import Architecture, SearchSpace

if TYPE_CHECKING:
    from hwnas.data import Data

TWIN = "fp32"  # every winner is shipped beside its fp32 twin, timed in the engine below
TWIN_ENGINE = "onnxruntime"


def facts_of(data: Data) -> dict[str, Any]:
    """What a data set says of itself."""
    return {"in_channels": data.channels, "classes": len(data.classes)}


class Job:
    """One run file on one device. Cheap to make: data, torch and engines are loaded by the stages that need them."""

    def __init__(self, config: RunFile, progress: bool = True) -> None:
        self.config, self.progress = config, progress
        self.seconds: dict[str, float] = {}
        self.renewal = Renewal(stale=not config.keep_stale)  # which rows of the tables are measured again

    def renew(self, renewal: Renewal) -> None:
        """Which rows of the tables are measured although they are there."""
        self.renewal = renewal

    @cached_property
    def device(self) -> DeviceProfile:
        return load_device(self.config.device)

    @cached_property
    def data(self) -> Data:
        from hwnas.data import load_data

        data = load_data({name: value for name, value in self.config.data.items() if name != "facts"})
        check_facts(self.given_facts, facts_of(data))
        return data

    @cached_property
    def given_facts(self) -> dict[str, Any]:
        return given_facts(self.config.data, self.config.space)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a space is bound with: `in_channels`, `classes`, `image_size`; of the run file where it gives both
        counts, so that measuring needs no data set, else of the data."""
        given = self.given_facts
        return given if {"in_channels", "classes"} <= set(given) else facts_of(self.data)

    @cached_property
    def space(self) -> SearchSpace:
        """The whole space, for this data's channels and classes."""
        settings = {name: value for name, value in self.config.space.items() if name not in FACTS}
        use = settings.pop("use", None)
        if use is None:
            raise HwnasError(
                "space: 'use' must name a search space", hint="mobile, resnet_binary or package.module:function"
            )
        space = bind(resolve(use, "spaces"), settings, self.facts, f"space ({use})")
        if not isinstance(space, SearchSpace):
            raise HwnasError(f"space ({use}) must give a SearchSpace, got {type(space).__name__}")
        return space

    def space_of(self, precision: str) -> SearchSpace:
        """The space of a target: every block of that precision where it can have it; `mixed` is the whole space."""
        if precision == "mixed":
            return self.space
        allowed: dict[str, tuple[Any, ...]] = {}
        for choice in self.space.choices:
            if choice.name.endswith("precision"):
                # Stem and head are never 1-bit: beside binary blocks they run in int8 where the space offers it.
                wanted = next((p for p in (precision, "int8", "fp32") if p in choice.options), None)
                allowed[choice.name] = (wanted,) if wanted else choice.options
        space = self.space.restrict(allowed) if allowed else self.space
        if not any(precision in c.options for c in space.choices if c.name.endswith("precision")):
            raise HwnasError(
                f"space {space.name} offers no {precision} block", hint=f"add {precision} to space.precisions"
            )
        return space

    def twin_of(self, architecture: Architecture) -> Architecture:
        """The same architecture with every block in fp32."""
        return self.space.architecture(
            {name: TWIN if name.endswith("precision") else value for name, value in architecture.items()}
        )

    @property
    def lines(self) -> list[tuple[str, str]]:
        """(precision policy, engine) of everything that is measured and graded: the targets, then their fp32 twins."""
        wanted = [(t.precision, t.engine) for t in self.config.targets]
        return list(dict.fromkeys([*wanted, (TWIN, self.twin_engine)]))

    @property
    def twin_engine(self) -> str:
        return TWIN_ENGINE if TWIN_ENGINE in self.device.engines else self.device.engines[0]

    def operators_of(self, precision: str) -> list[Operator]:
        return self.space_of(precision).operators()

    # -- kept stages ------------------------------------------------------------------------------------------------

    def path(self, *parts: str) -> Path:
        return self.config.folder.joinpath(*parts)

    def kept(self, name: str, identity: Any) -> Any | None:
        """What an earlier run of the same identity wrote to `<run>/<name>.json`, or None."""
        path = self.path(f"{name}.json")
        if not path.exists():
            return None
        stored = read_json(path)
        fits = isinstance(stored, dict) and stored.get("identity") == digest(identity)
        return stored["value"] if fits else None

    def keep(self, name: str, identity: Any, value: Any) -> None:
        """Writes a finished stage, whole or not at all."""
        write_json(self.path(f"{name}.json"), {"identity": digest(identity), "value": value})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage, for the report."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def target_named(config: RunFile, name: str) -> Target:
    """The run file's target of that name ("int8-onnxruntime") or precision."""
    for target in config.targets:
        if name in (target.name, target.precision):
            return target
    raise HwnasError(f"the run file has no target {name!r}", hint=f"it has {', '.join(t.name for t in config.targets)}")
