"""Every format keeps its contract; they are listed by precision, and what cannot be one is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas import find, formats
from hwnas.errors import HwnasError
from hwnas.testing import contract

test_every_format = contract("format", {name: formats.of(name) for name in formats.names()})


def test_formats_are_listed_by_precision_and_each_once() -> None:
    assert formats.ordered(["w1a1", "int8", "fp32", "int8"]) == ("fp32", "int8", "w1a1")
    assert set(formats.names()) == set(find.names("formats"))
    with pytest.raises(HwnasError, match="nearest: int8"):
        formats.of("int9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arithmetic": "quaternions"}, "arithmetic must be one of"),
        ({"exchange": "float32"}, "integers are uint8"),
        ({"activation": None}, "activation=None"),
        ({"suffix": "../../elsewhere"}, "must fit into a file's name"),
    ],
)
def test_a_format_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        replace(formats.of("int8"), **changes)  # type: ignore[arg-type]
