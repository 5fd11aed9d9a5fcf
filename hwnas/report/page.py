"""report.html: one self-contained page, light or dark as the reader's system is, without any link to outside.

First the answer (which file to ship, and why), then the files, the plot and what the figures mean; how they came about
is in `details`.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path

from hwnas.errors import HwnasError
from hwnas.paths import write_text
from hwnas.report.details import details
from hwnas.report.findings import (
    examples,
    findings,
    headed,
    interval,
    kept,
    limit_verdict,
    prediction_error,
    quantity,
    readable,
    shipped_bytes,
    shown,
    speed_up,
    tested_on,
    untimed,
)
from hwnas.report.html import Cell, number, section, table, text
from hwnas.report.plots import NARROW, WIDE, drawn_share, pareto_plot, tone
from hwnas.report.results import Results, Row, Ship, Target
from hwnas.units import readable_bytes, readable_us

FILE_NAME = "report.html"
# how every page begins, without a break: what tells one from the user's own
START = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>'
)


def write_page(results: Results, path: Path) -> None:
    """Write the page, whole or not at all; HwnasError where another file than an earlier page stands there."""
    if path.exists() and not path.read_bytes().startswith(START.encode()):
        raise HwnasError(f"{path} is no report of hwnas", hint="name another file with --out")
    write_text(path, page(results))


def page(results: Results) -> str:
    """The whole page as HTML text."""
    style = files("hwnas.report").joinpath("style.css").read_text(encoding="utf-8")
    sections = (_header, _answer, _files, _pareto, _findings, _earlier)
    body = "".join(part(results) for part in sections) + details(results)
    return (
        f"{START}{escape(results.run)} on {escape(results.device.name)}</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _header(results: Results) -> str:
    data = results.dataset
    shape = "×".join(str(extent) for extent in data.input_shape)
    chips = [
        ("device", f"{results.device.name}: {results.device.model}"),
        ("data", ", ".join([data.name, *([f"{data.classes} classes"] if data.classes else []), shape])),
        *((quantity(results, limit), f"at most {readable(limit.value, limit.unit)}") for limit in results.limits),
    ]
    items = "".join(f"<li>{escape(key)} <b>{escape(value)}</b></li>" for key, value in chips)
    return f'<header><h1>{escape(results.run)}</h1><ul class="chips">{items}</ul></header>'


def _answer(results: Results) -> str:
    """Which file to ship, and why: the first thing on the page."""
    ship = results.ship
    if ship is None:
        return ""
    if ship.file is None:
        return (
            '<div class="answer none"><div class="ask">Ship nothing yet</div>'
            f'<p class="because">Because {escape(ship.reason)}.</p></div>'
        )
    return (
        '<div class="answer"><div class="ask">Ship this file</div>'
        f'<div class="file">{escape(ship.file)}</div><p class="because">Because {escape(ship.reason)}.</p>'
        f"{_shipped_facts(results, ship)}</div>"
    )


def _shipped_facts(results: Results, ship: Ship) -> str:
    found = [(target, row) for target in results.targets for row in target.rows if row.file == ship.file]
    if not found:
        return ""
    target, row = found[0]
    facts = [
        (
            f"{results.measure.metric} on test {examples(results)}",
            shown(results, row.accuracy),
            _interval(results, row),
        ),
        _shipped_latency(results, row),
        ("to copy to the device", readable_bytes(shipped_bytes(row)), _constants(row)),
    ]
    ratio = speed_up(target, row)
    if ratio is not None:
        facts.append(("against the fastest fp32 twin", f"{ratio:.2f}×", ""))
    listed = "".join(
        f'<div><dt>{escape(key)}</dt><dd>{escape(value)}<span class="below">{escape(more)}</span></dd></div>'
        for key, value, more in facts
    )
    return f'<dl class="shown">{listed}</dl>'


def _shipped_latency(results: Results, row: Row) -> tuple[str, str, str]:
    if row.not_timed:
        return f"latency ({results.statistic}), predicted", _latency(row.predicted_us), row.not_timed
    return "latency, minimum", _latency(row.measured_us), f"p90 {_latency(row.p90_us)}"


def _findings(results: Results) -> str:
    items = [f'<li class="{_good(finding.ok)}">{escape(finding.text)}</li>' for finding in findings(results)]
    return section("Findings", "", f'<ul class="findings">{"".join(items)}</ul>') if items else ""


TIMES = ["predicted", "min", "p50", "p90", "p99", "n", "size", "speed-up", "limit"]


def _files(results: Results) -> str:
    rows = [
        (_row_classes(results, row), [*_file_cells(results, row), *_verdict_cells(results, target, row)])
        for target in results.targets
        for row in target.rows
    ]
    how = f"predicted ({untimed(results)})" if untimed(results) else "as timed on the device"
    caption = (
        f"Latency of the exported file, one image, {how}; n timed samples. Limits and predictions are "
        f"of the {results.statistic}. Under the {results.measure.metric} stands its 95 % interval on "
        f"{tested_on(results)}, under a prediction its error, under a size the constants alone. Speed-up is over the "
        "fastest fp32 twin of the same target on any engine."
    )
    checked = "".join(
        f"<li><code>{escape(row.file)}</code> {escape(row.verified)}</li>"
        for target in results.targets for row in target.rows
    )  # fmt: skip
    listing = f"<details><summary>what a fresh process without hwnas found</summary><ul>{checked}</ul></details>"
    return (
        section("Exported files", caption, table(["file", "engine", results.measure.metric, *TIMES], rows) + listing)
        if rows
        else ""
    )


def _row_classes(results: Results, row: Row) -> str:
    shipped = results.ship is not None and results.ship.file == row.file
    return " ".join(name for name, on in (("ship", shipped), ("twin", row.role == "fp32 twin")) if on)


def _file_cells(results: Results, row: Row) -> list[Cell]:
    name = row.precision if row.role == "winner" else row.role
    error = prediction_error(row, results.statistic)
    return [
        Cell(f'<span class="dot {tone(row.precision)}"></span>{escape(name)}', "name nowrap"),
        text(row.engine, "nowrap"),
        number(shown(results, row.accuracy), _interval(results, row)),
        number(_latency(row.predicted_us), "" if error is None else f"{error:+.0%}"),
        *(number(_latency(value)) for value in (row.measured_us, row.p50_us, row.p90_us, row.p99_us)),
        number("–" if row.samples is None else str(row.samples)),
        number(readable_bytes(shipped_bytes(row)), _constants(row)),
    ]


def _verdict_cells(results: Results, target: Target, row: Row) -> list[Cell]:
    ratio, verdict = speed_up(target, row), limit_verdict(row, results.limits, results.statistic)
    return [Cell("" if ratio is None else _ratio(ratio), "n"), text(verdict, f"words {_good(kept(row))}")]


def _earlier(results: Results) -> str:
    """Files of earlier runs that still stand in the folder, as their manifests have them."""
    rows = [
        (
            "",
            [
                Cell(f'<span class="dot {tone(row.precision)}"></span>{escape(row.precision)}', "name nowrap"),
                text(row.engine, "nowrap"),
                number(shown(results, row.accuracy), _interval(results, row)),
                *(number(_latency(value)) for value in (row.predicted_us, row.measured_us, row.p90_us)),
                number(readable_bytes(shipped_bytes(row))),
                Cell(f"<code>{escape(row.file)}</code>", "words"),
                text(row.verified, "words"),
            ],
        )
        for row in results.earlier
    ]
    heads = ["file", "engine", results.measure.metric, "predicted", "min", "p90", "size", "path", "verified"]
    caption = (
        "Exported into the same folder by earlier runs, as last verified and timed; not judged by this run’s limits."
    )
    return section("Files of earlier runs", caption, table(heads, rows)) if rows else ""


def _pareto(results: Results) -> str:
    plots = pareto_plot(results, WIDE) + pareto_plot(results, NARROW)
    if not plots:
        return ""
    precisions = dict.fromkeys(row.precision for target in results.targets for row in target.rows)
    legend = "".join(f'<li class="{tone(name)}"><span class="dot"></span>{escape(name)}</li>' for name in precisions)
    shapes = (
        "faint dots: what the search tried",
        "stairs: the front",
        "diamonds: exported files, with their 95 % interval",
        "squares: fp32 twins",
        "ringed: the file to ship",
    )
    legend += "".join(f"<li>{words}</li>" for words in shapes)
    left_out = drawn_share(results)
    caption = (
        "Trials and fronts are the supernet’s estimate at the predicted cost; "
        f"exported files are the final network as {'predicted' if untimed(results) else 'measured'}."
        + (f" {left_out[0].upper()}{left_out[1:]}." if left_out else "")
    )
    return section(
        f"{headed(results.measure.metric)} against cost", caption, f'{plots}<ul class="legend">{legend}</ul>'
    )


def _interval(results: Results, row: Row) -> str:
    low, high = interval(results, row)
    return f"{100 * low:.1f}–{100 * high:.1f}\u00a0%"  # an interval is not broken over two lines


def _constants(row: Row) -> str:
    return "" if row.weight_bytes is None else f"constants {readable_bytes(row.weight_bytes)}"


def _good(ok: bool | None) -> str:
    return {True: "good", False: "bad", None: ""}[ok]


def _ratio(ratio: float) -> str:
    return f'<span class="{_good(ratio > 1)}">{ratio:.2f}×</span>'


def _latency(value: float | None) -> str:
    return "–" if value is None else readable_us(value)
