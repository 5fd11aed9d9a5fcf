"""What every verb of the pipeline takes: the run file, and the few settings a person changes between runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli._output import progress_lines
from hwnas.errors import HwnasError
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job

RunPath = Annotated[
    Path, typer.Argument(help="The run file (YAML); of some commands one exported file.", show_default=False)
]
Out = Annotated[Path | None, typer.Option(help="Folder for runs, instead of the run file's.")]
Device = Annotated[str | None, typer.Option(help="Device name or profile, instead of the run file's.")]
Limits = Annotated[
    list[str] | None, typer.Option("--limit", help="name=value, instead of the run file's limits; may be repeated.")
]
KeepStale = Annotated[
    bool, typer.Option("--keep-stale", help="Keep rows of another engine version instead of measuring them again.")
]

Trusted = Annotated[
    list[str] | None,
    typer.Option("--trust", help="A package that the run file may take code from; may be repeated."),
]


def job_of(
    run_file: Path, out: Path | None, limits: list[str] | None, device: str | None, trust: list[str] | None = None
) -> Job:
    """The job of a run file with a person's changes; HwnasError for anything malformed."""
    config = read_run_file(run_file, out, parsed_limits(limits), device, trust or ())
    return Job(config, say=progress_lines())


def parsed_limits(limits: list[str] | None) -> dict[str, float] | None:
    """["latency_ms=0.5"] as {"latency_ms": 0.5}."""
    if not limits:
        return None
    parsed = {}
    for text in limits:
        name, sign, value = text.partition("=")
        try:
            parsed[name] = float(value)
        except ValueError:
            raise HwnasError(f"--limit takes name=value such as latency_ms=0.5, got {text!r}") from None
        if not sign:
            raise HwnasError(f"--limit takes name=value such as latency_ms=0.5, got {text!r}")
    return parsed
