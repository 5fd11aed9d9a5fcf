"""The one error tree: a message says what must hold, what was got, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HwnasError(Exception):
    """A user's mistake or an unusable input: one line on standard error, exit 2."""

    exit_code = 2

    def __init__(self, message: str, *, nearest: Iterable[str] = (), hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.nearest = tuple(nearest)
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.message]
        if self.nearest:
            parts.append(f"nearest: {', '.join(self.nearest)}")
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "; ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.nearest, self.hint)


def _rebuild(cls: type[HwnasError], message: str, nearest: tuple[str, ...], hint: str | None) -> HwnasError:
    return cls(message, nearest=nearest, hint=hint)


class CheckFailed(HwnasError):
    """A check that ran and failed (a limit exceeded, outputs that differ): exit 1."""

    exit_code = 1


def nearest_names(name: str, known: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """The known names most like `name`, best first."""
    return tuple(difflib.get_close_matches(name, list(known), n=count, cutoff=0.5))


def unknown(what: str, name: str, known: Iterable[str], hint: str | None = None) -> HwnasError:
    """The error for a name that is not among `known`: names the nearest and lists the rest."""
    names = sorted(known)
    listing = f"known: {', '.join(names)}" if names else "none is known"
    return HwnasError(f"unknown {what} {name!r}", nearest=nearest_names(name, names), hint=hint or listing)
