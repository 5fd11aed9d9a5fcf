"""One way to show long work: a bar with the time left on standard error, nothing at all where nobody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(title: str, shown: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A function of (done, total, note) that draws the bar."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda done, total, note: None
        return
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None, note="")

        def update(done: int, total: int, note: str) -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield update
