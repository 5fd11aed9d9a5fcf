"""What verbs print with: JSON alone on standard output, everything for people through one console."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from rich.console import Console

from hwnas.errors import HwnasError

Json = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]

PIPE_WIDTH = 160


class Interrupted(HwnasError):
    """Ctrl-C in a stage that knows what it keeps."""

    exit_code = 2


def print_json(value: Any) -> None:
    """`value` as JSON on standard output. NaN is refused: JSON has none."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False, default=str)
    sys.stdout.write("\n")


def results_console() -> Console:
    """Standard output, for a person who did not ask for --json. Emoji codes and markup are off: names are data.

    A file or a pipe has no width of its own; rich would fold the tables at 80 columns.
    """
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(markup=False, highlight=False, emoji=False, width=width)


def progress_console() -> Console:
    """Standard error: progress bars and notes never mix with results."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def progress_lines() -> Callable[[str], None]:
    """A function that says one line on standard error, whole however narrow the terminal is."""
    console = progress_console()
    return lambda text: console.print(text, soft_wrap=True)


@contextlib.contextmanager
def keeping(what: str, resume: str = "the same command goes on from there") -> Iterator[None]:
    """Names what a Ctrl-C inside the block leaves behind: `with keeping("rows measured so far, in <table>"):`."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; kept: {what}", hint=resume) from None
