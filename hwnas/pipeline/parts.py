"""The methods of one search: what the run file names under `search:`, each given what its constructor asks for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from hwnas import find
from hwnas.errors import HwnasError
from hwnas.pipeline.config import DEFAULTS, Target
from hwnas.pipeline.identity import code_behind
from hwnas.pipeline.job import Job
from hwnas.plug import Given, bind, check_settings, names_of, resolve
from hwnas.protocols import Decoder, Predictor, Proxy, Sampler, Scorer

Progress = Callable[[int, int, str], None]  # done, total, note

INTERFACES: Mapping[str, type] = {
    "sampler": Sampler,
    "scorer": Scorer,
    "predictor": Predictor,
    "decoder": Decoder,
    "proxy": Proxy,
}
GIVEN = ("scorer", "predictor", "proxy")  # those that another method may ask for
FOLDERS = {"sampler": "search"}  # the folder of methods that a part is in, where it has another name
# What there is before anything is measured or trained: a method that asks for no more is made, and so checked, at once.
EARLY = frozenset({"space", "seed", "task", "device", "rule", "recalibration_images", "progress"})
LATE = ("net", "costings", "limits")  # and what only the search itself knows


class Parts:
    """The methods that search one target, each made when it is first asked for. `known` adds what the stage knows:
    costings and limits from the tables, the trained net."""

    def __init__(self, job: Job, target: Target, known: Mapping[str, Callable[[], Any]] | None = None) -> None:
        self.job = job
        self._progress: Progress = lambda done, total, note: None
        space = job.space_of(target.precision)
        self.given = Given(
            {
                "space": lambda: space,
                "seed": lambda: job.config.seed,
                "task": lambda: job.task,
                "data": lambda: job.data,
                "device": lambda: job.device,
                "rule": self._rule,
                "recalibration_images": lambda: job.config.search.recalibration_images,
                "progress": lambda: lambda done, total, note: self._progress(done, total, note),
                **{part: functools.partial(self._made, part) for part in GIVEN},
                **{name: functools.partial(_too_early, name) for name in LATE},
                **(known or {}),
            }
        )

    @property
    def main(self) -> str:
        """What gives the architectures: "decoder" where the run file names one, else "sampler"."""
        return "sampler" if self.job.config.search.decoder is None else "decoder"

    def make(self, part: str) -> Any:
        """The method of a part; HwnasError for a wrong name, wrong settings, or methods that ask for each other."""
        return self.given[part] if part in GIVEN else self._made(part)

    def used(self, *first: str) -> list[str]:
        """These parts (by default the main one and the scorer), what they ask for, what that asks for, and so on."""
        found = list(first or (self.main, "scorer"))
        for part in found:
            found += [name for name in self._asked(part) if name not in found]
        return found

    def _asked(self, part: str) -> list[str]:
        names = names_of(self._resolved(part))
        return [name for name in GIVEN if name in names]

    def needs(self, part: str) -> frozenset[str]:
        """What a part, or a method that it is given, asks for besides methods: its answers depend on that."""
        asked = {name for one in self.used(part) for name in names_of(self._resolved(one))}
        return frozenset(asked & set(self.given) - set(GIVEN))

    def check(self) -> None:
        """Checks all that is used as far as can be before anything is measured; HwnasError where the run file names
        what nothing asks for."""
        settings, used = self.job.config.search, self.used()
        for part in INTERFACES:
            if part not in used and part in settings.model_fields_set and getattr(settings, part) is not None:
                why = f"a method that names `{part}` in its constructor would; used here: {', '.join(used)}"
                hint = "a decoder stands instead of a sampler" if part == "sampler" else why
                raise HwnasError(f"search.{part} is given, and nothing asks for it", hint=hint)
        for part in used:
            asked = self._asked(part)
            if asked and part in self.used(*asked):
                raise HwnasError(f"{self._where(part)} asks, by way of {', '.join(asked)}, for a {part} itself")
            check_settings(self._resolved(part), self._settings(part), self.given, self._where(part))
        self.make_those_of(EARLY)

    def make_those_of(self, known: frozenset[str]) -> None:
        """Makes the methods that ask for nothing but `known`: wrong values are refused before time is spent."""
        for part in self.used():
            if self.needs(part) <= known:
                self.make(part)

    def code(self, *first: str) -> dict[str, str]:
        """Digests of the source files of the methods that are used; one that holds others is made to see them."""
        found: dict[str, str] = {}
        for part in self.used(*first):
            whole = [self.make(part)] if self.needs(part) <= EARLY else []
            found |= code_behind(self._resolved(part), *whole)
        return found

    def named(self, *first: str) -> dict[str, Any]:
        """What the run file says of the methods that are used, where it says anything."""
        settings = self.job.config.search.model_dump(mode="json")
        return {part: settings[part] for part in self.used(*first) if settings[part] is not None}

    def use_progress(self, shown: Progress) -> None:
        """Where what methods say of their progress goes from now on."""
        self._progress = shown

    def _made(self, part: str) -> Any:
        return bind(self._resolved(part), self._settings(part), self.given, self._where(part))

    def _named(self, part: str) -> dict[str, Any]:
        return dict(getattr(self.job.config.search, part) or {})

    def use(self, part: str) -> str:
        """What the run file's `use:` says of a part, or its default."""
        use: str = self._named(part).get("use", DEFAULTS[part])
        return use

    def _settings(self, part: str) -> dict[str, Any]:
        return {name: value for name, value in self._named(part).items() if name != "use"}

    def _where(self, part: str) -> str:
        return f"search.{part} ({self.use(part)})"

    def _resolved(self, part: str) -> Callable[..., Any]:
        use, folder = self.use(part), FOLDERS.get(part, part)
        found = resolve(use, "methods", self.job.config.trust, (INTERFACES[part],))
        name = use.partition(":")[0].removeprefix("hwnas.methods.")
        if find.has("methods", name) and name.partition(".")[0] != folder:  # a proxy is called as a scorer is
            raise HwnasError(
                f"{self._where(part)} is no {part}", hint=f"known: {', '.join(find.names(f'methods.{folder}'))}"
            )
        return found

    def _rule(self) -> Any:
        from hwnas.pipeline import learning

        return learning.make_rule(self.job)


def _too_early(name: str) -> Any:
    raise AssertionError(f"{name} is asked for before it is known")
