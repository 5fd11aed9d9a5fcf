"""Job: what all stages of a run share: the checked run file, the device, the space of every target, the kept stages."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas import formats
from hwnas.device import DeviceProfile, load_device
from hwnas.engines import engine_class
from hwnas.errors import HwnasError
from hwnas.measure.fill import Renewal
from hwnas.network import FULL_PRECISION, Operator
from hwnas.paths import digest, read_json, unwritable, write_json
from hwnas.pipeline.config import MIXED, RunFile, Target
from hwnas.pipeline.facts import FACTS, check_facts, given_facts
from hwnas.plug import HWNAS_ALONE, Trust, bind, names_of, needed_by, resolve
from hwnas.protocols import Task
from hwnas.space import Architecture, Choice, SearchSpace

if TYPE_CHECKING:
    from hwnas.protocols import Data

TWIN = FULL_PRECISION  # every winner is shipped beside its fp32 twin


class Job:
    """One run file on one device. Cheap to make: data, torch and engines are loaded by the stages that need them."""

    def __init__(self, config: RunFile, progress: bool = True, say: Callable[[str], object] | None = None) -> None:
        """`say` takes one line for a person; what a run must not forget to tell is in `notes` as well."""
        self.config, self.progress, self.say = config, progress, say
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self.renewal = Renewal(stale=not config.keep_stale)  # which rows of the tables are measured again

    def note(self, text: str) -> None:
        """Something a person should know, now and in the report."""
        if text not in self.notes:
            self.notes.append(text)
            if self.say is not None:
                self.say(f"note: {text}")

    def renew(self, renewal: Renewal) -> None:
        """Which rows of the tables are measured although they are there."""
        self.renewal = renewal

    @cached_property
    def device(self) -> DeviceProfile:
        return load_device(self.config.device)

    @cached_property
    def data(self) -> Data:
        from hwnas.data import load_data

        settings = {name: value for name, value in self.config.data.items() if name != "facts"}
        data = load_data(settings, self.config.trust)
        check_facts(self.given_facts, data.facts)
        for text in data.notes:
            self.note(text)
        if self.config.preprocess == "inside":
            from hwnas.pipeline.raw_images import require_whole_numbers

            require_whole_numbers(data)
        return data

    @cached_property
    def task(self) -> Task:
        """What nets are trained for and judged by."""
        return make_task(self.config.task, self.config.trust)

    @cached_property
    def given_facts(self) -> dict[str, Any]:
        return given_facts(self.config.data, self.config.space, names_of(self._space_builder))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a space is bound with (classes, in_channels, image_size, ...): of the run file where it gives all that
        the space must be told, so that measuring needs no data set, else of the data."""
        given = self.given_facts
        needed = needed_by(self._space_builder) - set(self._space_settings)
        return given if given and needed <= set(given) else dict(self.data.facts)

    @property
    def _space_settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.config.space.items() if name not in (*FACTS, "use")}

    @cached_property
    def _space_builder(self) -> Callable[..., Any]:
        use = self.config.space.get("use")
        if use is None:
            raise HwnasError(
                "space: 'use' must name a search space", hint="mobile, resnet_binary or package.module:function"
            )
        return resolve(use, "spaces", self.config.trust, (SearchSpace,))

    @cached_property
    def space(self) -> SearchSpace:
        """The whole space, told what it must know of this data."""
        use = self.config.space.get("use")
        space = bind(self._space_builder, self._space_settings, self.facts, f"space ({use})")
        if not isinstance(space, SearchSpace):
            raise HwnasError(f"space ({use}) must give a SearchSpace, got {type(space).__name__}")
        return space if self.config.preprocess == "outside" else self._reading_pixels(space)

    def _reading_pixels(self, space: SearchSpace) -> SearchSpace:
        from hwnas.spaces.preprocess import reading_pixels

        if "image_size" not in self.facts:
            raise HwnasError(
                "preprocess: inside needs image_size beside in_channels and classes", hint="image_size: [height, width]"
            )
        return reading_pixels(space, self.facts["image_size"])

    def space_of(self, precision: str) -> SearchSpace:
        """The space of a target: every block of that precision where it can have it; `mixed` is the whole space."""
        if precision == MIXED:
            return self.space
        # Stem and head are never 1-bit: there stands the least precise format on offer that ends can have.
        cheapest = [name for name in reversed(formats.names()) if name in formats.of(name).ends]
        allowed: dict[str, tuple[Any, ...]] = {}
        for choice in self._precisions:
            wanted = next((p for p in (precision, *cheapest) if p in choice.options), None)
            allowed[choice.name] = (wanted,) if wanted else choice.options
        space = self.space.restrict(allowed) if allowed else self.space
        offered = {option for choice in self._precisions for option in space.by_name[choice.name].options}
        if not self._precisions:  # a space of one format says so by its blocks
            offered = {operator.precision for operator in space.lower(space.smallest()).operators}
        if precision not in offered:
            raise HwnasError(
                f"space {space.name} offers no {precision} block", hint=f"add {precision} to space.precisions"
            )
        return space

    def twin_of(self, architecture: Architecture) -> Architecture:
        """The same architecture with every block in fp32."""
        return self.space.architecture({**architecture, **{choice.name: TWIN for choice in self._precisions}})

    @property
    def _precisions(self) -> list[Choice]:
        return [choice for choice in self.space.choices if choice.role == "precision"]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """(precision policy, engine) of everything that is measured and graded: the targets, then their fp32 twins."""
        wanted = [(t.precision, t.engine) for t in self.config.targets]
        return list(dict.fromkeys([*wanted, (TWIN, self.twin_engine)]))

    @property
    def twin_engine(self) -> str:
        """The device's engine whose twin is predicted: one that takes any network, where there is one."""
        general = (name for name in self.device.engines if engine_class(name).general)
        return next(general, self.device.engines[0])

    def operators_of(self, precision: str) -> list[Operator]:
        return self.space_of(precision).operators()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """The run's folder for this process alone: two would write over each other's checkpoints and weights.

        HwnasError where another process has it; the system takes it from one that died.
        """
        from filelock import FileLock, Timeout

        if int(os.environ.get("RANK", "0")):  # of torchrun's processes the first has it for all
            yield
            return
        lock = FileLock(self.config.folder.with_name(f".{self.config.folder.name}.lock"))
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise HwnasError(
                f"another hwnas command is at work in {self.config.folder}",
                hint="wait for it, or give another name or --out",
            ) from None
        except OSError as problem:
            raise unwritable(Path(lock.lock_file), problem) from problem
        try:
            yield
        finally:
            lock.release()

    # -- kept stages ------------------------------------------------------------------------------------------------

    def path(self, *parts: str) -> Path:
        return self.config.folder.joinpath(*parts)

    def kept(self, name: str, identity: Any, code: Mapping[str, str] | None = None) -> Any | None:
        """What an earlier run of the same identity and code wrote for the stage `name`, set aside or not; or None.

        `code` are digests of the source files that decide the stage (hwnas/pipeline/identity.py).
        """
        path = self.path(f"{name}.json")
        wanted = identity_digest(identity, code)
        for candidate in (path, self.earlier(path, wanted)):
            stored = read_json(candidate) if candidate.exists() else None
            if isinstance(stored, dict) and stored.get("identity") == wanted and "digest" in stored:
                if stored["digest"] != digest(stored.get("value")):
                    raise HwnasError(f"{candidate} was changed since it was written", hint="move it away and run again")
                return stored["value"]
        return None

    def keep(
        self, name: str, identity: Any, value: Any, code: Mapping[str, str] | None = None, replace: bool = False
    ) -> None:
        """Writes a finished stage, whole or not at all. One of another identity is set aside, not overwritten, unless
        `replace` says that it costs nothing to make again."""
        path, wanted = self.path(f"{name}.json"), identity_digest(identity, code)
        if not replace and path.exists():
            stored = read_json(path)
            old = str(stored.get("identity")) if isinstance(stored, dict) else digest(path.read_bytes())
            if old != wanted:
                self.set_aside(path, old)
        value = json.loads(json.dumps(value, allow_nan=False, default=str))  # as it will be read back
        write_json(path, {"identity": wanted, "code": dict(code or {}), "digest": digest(value), "value": value})

    def earlier(self, path: Path, identity: str) -> Path:
        """Where a result of another identity is kept, so that going back to its settings finds it."""
        inside = path.relative_to(self.config.folder)
        if not identity.isalnum():  # read from a file: it must not lead to another folder
            identity = digest(identity)
        return self.path("earlier", *inside.parts[:-1], f"{path.stem}-{identity}{path.suffix}")

    def set_aside(self, path: Path, identity: str) -> Path:
        """Moves a result out of the way of one of another identity."""
        place = self.earlier(path, identity)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
        return place

    def bring_back(self, path: Path, identity: str) -> bool:
        """Puts the result of this identity at `path` where it was set aside; whether there was one."""
        place = self.earlier(path, identity)
        if place.exists() and not path.exists():
            place.replace(path)
            return True
        return False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage, for the report."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def identity_digest(identity: Any, code: Mapping[str, str] | None = None) -> str:
    """One digest of a stage's settings and of the code that decides it."""
    return digest([identity, dict(code)]) if code else digest(identity)


def make_task(settings: Mapping[str, Any], trust: Trust = HWNAS_ALONE) -> Task:
    """The task of a run file's `task:` section: `{use: classify | segment, ...}`, or what `use` leads to."""
    settings = dict(settings)
    use = settings.pop("use", None)
    if use is None:
        raise HwnasError("task: 'use' must name a task", hint="classify, segment or package.module:Task")
    task: Task = bind(resolve(use, "tasks", trust, (Task,)), settings, {}, f"task ({use})")
    return task


def target_named(config: RunFile, name: str) -> Target:
    """The run file's target of that name ("int8-onnxruntime") or precision."""
    for target in config.targets:
        if name in (target.name, target.precision):
            return target
    raise HwnasError(f"the run file has no target {name!r}", hint=f"it has {', '.join(t.name for t in config.targets)}")
