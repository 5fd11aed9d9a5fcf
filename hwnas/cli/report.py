"""Print the result table of a finished run and write its report.html again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli._output import Json, print_json, results_console
from hwnas.report.latest import with_latest
from hwnas.report.page import FILE_NAME, write_page
from hwnas.report.results import load_results
from hwnas.report.terminal import print_results


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its results.json.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the page; default: report.html in the run's folder.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas report runs/quickstart
        hwnas report runs/quickstart --out my-report.html
        hwnas report runs/quickstart --json

    Everything is drawn from results.json, and from the manifests in the same folder, which `hwnas verify` renews:
    nothing is measured or trained again.
    """
    folder = run if run.is_dir() else run.parent
    results = with_latest(load_results(run), folder)
    page = out or folder / FILE_NAME
    write_page(results, page)
    if json_output:
        print_json(asdict(results) | {"report": str(page)})
        return
    console = results_console()
    console.print(f"wrote {page}")
    print_results(results, console)
