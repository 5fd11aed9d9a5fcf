"""The result tables as a terminal shows them: each fits 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hwnas.report.findings import (
    PREDICTION_MARGIN,
    arithmetic_of,
    findings,
    interval,
    kept,
    limits_in_words,
    prediction_error,
    shipped_bytes,
    shown,
    speed_up,
    tested_on,
    untimed,
)
from hwnas.report.results import Results, Row, Target
from hwnas.units import readable_bytes, readable_us

_COLOURS = {"float": "default", "integer": "bright_blue", "signs": "bright_yellow"}


def print_results(results: Results, console: Console) -> None:
    """The files, their latencies, how far each table can be trusted, the findings, and last the file to ship."""
    console.print(files_table(results))
    console.print(latency_table(results))
    if results.cards:
        console.print(cards_table(results))
    console.print()
    for finding in findings(results):
        console.print(
            Text.assemble(("ok  " if finding.ok else "!!  ", "green" if finding.ok else "bold red"), finding.text)
        )
    for note in results.notes:
        console.print(Text.assemble(("note  ", "dim"), note))
    if results.ship is not None:
        console.print()
        console.print(answer(results))


def answer(results: Results) -> Text:
    """`ship export/..., because ...`, or that there is nothing to ship."""
    ship = results.ship
    if ship is None:
        return Text()
    if ship.file is None:
        return Text.assemble(("ship nothing", "bold red"), f": {ship.reason}")
    return Text.assemble(("ship ", "bold green"), (ship.file, "bold"), f", because {ship.reason}")


def files_table(results: Results) -> Table:
    """One line an exported file; `>` marks the one to ship."""
    limits = limits_in_words(results)
    sized = any(limit.name == "size" for limit in results.limits)
    size = "; size: of the file; its limit is on the weights alone" if sized else ""
    table = _table(
        f"{results.run} on {results.device.name}" + (f", {limits}" if limits else ""),
        f"{results.measure.metric}: of {tested_on(results)}, with its 95 % interval; "
        f"speed-up: over the fastest fp32 twin of the target on any engine{size}",
    )
    for heading in ("", "file", "engine"):
        table.add_column(heading, no_wrap=True)
    latency = "predicted" if untimed(results) else "min"
    for heading in (results.measure.metric, "95 %", latency, "size", "speed-up"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("limit")
    for target, row in rows_of(results):
        table.add_row(*_file_cells(results, target, row))
    return table


def rows_of(results: Results) -> list[tuple[Target, Row]]:
    """Every exported file with its target."""
    return [(target, row) for target in results.targets for row in target.rows]


def _table(title: str, caption: str) -> Table:
    return Table(
        title=title, caption=caption, title_justify="left", caption_justify="left", box=None, pad_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip


def _file_cells(results: Results, target: Target, row: Row) -> list[Text]:
    ratio = speed_up(target, row)
    low, high = interval(results, row)
    scale = 100 if results.measure.unit == "%" else 1
    verdict = {None: "", True: "ok", False: "OVER"}[kept(row)]
    shipped = results.ship is not None and results.ship.file == row.file
    return [
        Text(">" if shipped else "", style="bold green"),
        _name(row),
        Text(row.engine),
        Text(shown(results, row.accuracy)),
        Text(f"{scale * low:.1f}-{scale * high:.1f}", style="dim"),
        Text(_latency(row.predicted_us if untimed(results) else row.measured_us)),
        Text(readable_bytes(shipped_bytes(row))),
        Text("" if ratio is None else f"{ratio:.2f}x", style="green" if ratio is not None and ratio > 1 else "red"),
        Text(verdict, style="green" if kept(row) else "bold red"),
    ]


def latency_table(results: Results) -> Table:
    """What was predicted and every statistic that was measured, with the number of samples behind them."""
    how = f"predicted, {untimed(results)}" if untimed(results) else "as timed on the device"
    table = _table(
        f"\nlatency {how}; limits and predictions: {results.statistic}",
        "error: predicted / measured - 1; n: timed samples, one image each run",
    )
    for heading in ("file", "engine"):
        table.add_column(heading, no_wrap=True)
    for heading in ("predicted", "error", "min", "p50", "p90", "p99", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for _, row in rows_of(results):
        error = prediction_error(row, results.statistic)
        far = error is not None and abs(error) > PREDICTION_MARGIN
        table.add_row(
            _name(row),
            row.engine,
            _latency(row.predicted_us),
            Text("-" if error is None else f"{error:+.0%}", style="red" if far else "default"),
            *(_latency(value) for value in (row.measured_us, row.p50_us, row.p90_us, row.p99_us)),
            "-" if row.samples is None else str(row.samples),
        )
    return table


def cards_table(results: Results) -> Table:
    """How well each latency table predicted whole networks that it never saw."""
    table = _table(
        "\nlatency tables, tested on whole networks they never saw",
        "MAC: multiply-accumulates alone, with a fit of their own, on the same networks",
    )
    table.add_column("table", no_wrap=True)
    for heading in ("nets", "MAPE", "in 10 %", "Spearman", "noise", "MAC: MAPE", "Spearman"):
        table.add_column(heading, justify="right", no_wrap=True)
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


def _name(row: Row) -> Text:
    """The precision; a twin is called one."""
    if row.role == "winner":
        return Text(row.precision, style=f"bold {_COLOURS.get(arithmetic_of(row.precision), '')}".strip())
    return Text(row.role, style="dim")


def _latency(value: float | None) -> str:
    """At most nine characters, so that four of them stand side by side in 80 columns."""
    if value is None:
        return "-"
    return readable_us(value) if value < 1000 else f"{value / 1000:.4g} ms"
