"""One task a file: what a net is trained for, and how its answers are judged (`Task` in hwnas/protocols.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwnas.errors import HwnasError


def require_one(task: str, *outputs: Any) -> None:
    """HwnasError where a network's outputs are several, by name, and the task judges an only one."""
    for each in outputs:
        if isinstance(each, Mapping):
            raise HwnasError(
                f"task {task} judges one output, the network gives {', '.join(each)}",
                hint="a task of your own is given all of them by name",
            )
