"""Plain values from a file as one of our frozen dataclasses, or one line that says which key is wrong."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from hwnas.errors import HwnasError

T = TypeVar("T")


def validated(kind: type[T], value: Any, where: str, hint: str) -> T:
    """`value` (from JSON) as the dataclass `kind`, every field of the annotated type; HwnasError names `where` and key.

    Nothing is converted (a number in quotes is refused), but for a list where a tuple is asked for.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        # As JSON, not as Python values: pydantic's strict rules take lists for tuples only there.
        return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as problem:
        finding = problem.errors(include_url=False)[0]
        key = ".".join(str(part) for part in finding["loc"]) or "the entry"
        raise HwnasError(f"{where}: {key}: {finding['msg'].lower()}", hint=hint) from None
