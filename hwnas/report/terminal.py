"""The result table as a terminal shows it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hwnas.report.findings import findings, limit_verdict, readable, speed_up
from hwnas.report.results import Results, Row, Target
from hwnas.units import readable_bytes, readable_us

_COLOURS = {"fp32": "default", "int8": "bright_blue", "w1a1": "bright_yellow"}


def print_results(results: Results, console: Console) -> None:
    """The table, how far each latency table can be trusted, and the findings."""
    console.print(results_table(results))
    if results.cards:
        console.print(cards_table(results))
    for finding in findings(results):
        console.print(
            Text.assemble(("ok  " if finding.ok else "!!  ", "green" if finding.ok else "bold red"), finding.text)
        )
    for note in results.notes:
        console.print(Text.assemble(("note  ", "dim"), note))


def results_table(results: Results) -> Table:
    """One line an exported file."""
    limits = ", ".join(f"{limit.name} <= {readable(limit.value, limit.unit)}" for limit in results.limits)
    title = f"{results.run} on {results.device.name}" + (f", {limits}" if limits else "")
    table = Table(title=title, title_justify="left", caption_justify="left", box=None, pad_edge=False)
    table.caption = (
        f"latency: {results.statistic} of all runs, one image; speed-up: over the fastest fp32 twin as measured"
    )
    for heading in ("precision", "engine", "role"):
        table.add_column(heading)
    for heading in ("accuracy", "predicted", "measured", "size", "speed-up"):
        table.add_column(heading, justify="right")
    table.add_column("limit")
    for target in results.targets:
        for row in target.rows:
            table.add_row(*_cells(results, target, row))
    return table


def _cells(results: Results, target: Target, row: Row) -> list[Text]:
    ratio = speed_up(target, row)
    verdict = limit_verdict(row, results.limits)
    return [
        Text(row.precision, style=_COLOURS.get(row.precision, "default")),
        Text(row.engine),
        Text(row.role, style="bold" if row.role == "winner" else "dim"),
        Text(f"{row.accuracy:.2%}"),
        Text(_latency(row.predicted_us)),
        Text(_latency(row.measured_us)),
        Text(readable_bytes(row.size_bytes)),
        Text("" if ratio is None else f"{ratio:.2f}x", style="green" if ratio is not None and ratio > 1 else "red"),
        Text("ok" if verdict == "within" else verdict, style="green" if row.limit_ok else "bold red"),
    ]


def cards_table(results: Results) -> Table:
    """How well each latency table predicted whole networks that it never saw."""
    table = Table(title="\nlatency tables, tested on whole networks", title_justify="left", box=None, pad_edge=False)
    table.add_column("table")
    for heading in ("networks", "MAPE", "within 10 %", "Spearman", "noise floor", "FLOPs: MAPE", "Spearman"):
        table.add_column(heading, justify="right")
    for name, card in results.cards.items():
        shares = (card.mape, card.within_10)
        texts = [
            str(card.n_test),
            *(f"{share:.1%}" for share in shares),
            f"{card.spearman:.3f}",
            f"{card.noise_floor:.1%}",
        ]
        table.add_row(name, *texts, f"{card.baseline_mape:.1%}", f"{card.baseline_spearman:.3f}")
    return table


def _latency(value: float | None) -> str:
    return "-" if value is None else readable_us(value)
