"""What a package that adds to hwnas tests itself with: contract suites, a toy space, the null device and an oracle.

    from hwnas.testing import contract
    test_sampler = contract("sampler", MySampler)     # a test a law, where pytest collects it

    from hwnas.testing import check
    check("sampler", MySampler)                       # the same without pytest

A suite is a file of `hwnas/testing/contracts`, named as the kind of thing that it is for: its public functions are the
laws, each of which takes the subject and raises `LawBroken`. What else a law names (`space`, `seed`) has a default that
`contract` and `check` replace by keyword. A package may bring suites for kinds of its own the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from hwnas import find
from hwnas.errors import HwnasError, unknown

AXIS = "testing.contracts"
Law = Callable[..., None]


class LawBroken(AssertionError):
    """A thing that does not keep the contract of its kind; the message says what must hold and what was found."""


def hold(holds: object, what: str) -> None:
    """LawBroken with `what` unless `holds`."""
    if not holds:
        raise LawBroken(what)


def kinds() -> list[str]:
    """Every kind of thing that has a suite."""
    return find.names(AXIS)


def laws(kind: str) -> dict[str, Law]:
    """The laws of a kind by name, in the order of its file. HwnasError where it has no suite."""
    module = find.load(AXIS, kind)
    functions = vars(module).items()
    return {n: f for n, f in functions if inspect.isfunction(f) and n[0] != "_" and f.__module__ == module.__name__}


def check(kind: str, subject: Any, **given: Any) -> None:
    """Holds `subject` to every law of its kind; LawBroken by the first that it breaks."""
    for law in _bound(kind, given).values():
        law(subject)


def contract(kind: str, *subjects: Any, **given: Any) -> Callable[..., None]:
    """A test function for pytest that holds every subject to every law of their kind, one test each. A subject may be a
    mapping of names to subjects, for things that do not know their names."""
    import pytest

    bound, cases, names = _bound(kind, given), [], []
    for given_subject in subjects:
        named = given_subject if isinstance(given_subject, dict) else {_label(given_subject): given_subject}
        cases += [(law, subject) for subject in named.values() for law in bound.values()]
        names += [f"{label}-{name}" for label in named for name in bound]

    @pytest.mark.parametrize(("law", "subject"), cases, ids=names)
    def keeps_the_law(law: Law, subject: Any) -> None:
        law(subject)

    return keeps_the_law


def _bound(kind: str, given: dict[str, Any]) -> dict[str, Law]:
    """The laws with what is given in place of their defaults; HwnasError where no law takes it."""
    found = laws(kind)
    takes = {name for law in found.values() for name in list(inspect.signature(law).parameters)[1:]}
    for name in given:
        if name not in takes:
            raise unknown(f"setting of the {kind} contract", name, sorted(takes))
    return {name: _with(law, given) for name, law in found.items()}


def _with(law: Law, given: dict[str, Any]) -> Law:
    own = {name: value for name, value in given.items() if name in inspect.signature(law).parameters}

    def bound(subject: Any) -> None:
        try:
            law(subject, **own)
        except HwnasError as refusal:
            raise LawBroken(f"{law.__name__}: {refusal}") from refusal

    return bound


def _label(subject: Any) -> str:
    return str(getattr(subject, "__name__", None) or getattr(subject, "name", None) or subject)
