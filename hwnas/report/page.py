"""report.html: one self-contained page, light or dark as the reader's system is, without any link to outside."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path

from hwnas.errors import HwnasError
from hwnas.paths import write_text
from hwnas.report.findings import findings, limit_verdict, named, readable, speed_up
from hwnas.report.plots import drawn_share, pareto_plot, tone
from hwnas.report.results import Block, Results, Row, Scalar, Target
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
    sections = (_header, _picks, _findings, _table, _pareto, _blocks, _cards, _architectures, _provenance)
    body = "".join(section(results) for section in sections)
    return (
        f"{START}{escape(results.run)} on {escape(results.device.name)}</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _header(results: Results) -> str:
    data = results.dataset
    shape = "×".join(str(extent) for extent in data.input_shape)
    chips = [
        ("device", f"{results.device.name}: {results.device.model}"),
        ("data", f"{data.name}, {data.classes} classes, {shape}"),
        *((limit.name, f"at most {readable(limit.value, limit.unit)}") for limit in results.limits),
    ]
    items = "".join(f"<li>{escape(key)} <b>{escape(value)}</b></li>" for key, value in chips)
    return f'<header><h1>{escape(results.run)}</h1><ul class="chips">{items}</ul></header>'


def _picks(results: Results) -> str:
    cards = [_pick(results, target, row) for target in results.targets for row in target.rows if row.role == "winner"]
    return f'<div class="picks">{"".join(cards)}</div>' if cards else ""


def _pick(results: Results, target: Target, row: Row) -> str:
    ratio = speed_up(target, row)
    facts = [("accuracy", f"{row.accuracy:.2%}"), ("size", readable_bytes(row.size_bytes))]
    if ratio is not None:
        facts.append(("against fp32", _ratio(ratio)))
    verdict = limit_verdict(row, results.limits)
    if verdict:
        facts.append(("limit", f'<span class="{"good" if row.limit_ok else "bad"}">{escape(verdict)}</span>'))
    listed = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts)
    return (
        f'<div class="pick-card {tone(row.precision)}"><div class="name">{escape(named(row))}</div>'
        f'<div class="big">{_latency(row.measured_us)}</div><dl>{listed}</dl></div>'
    )


def _findings(results: Results) -> str:
    items = [
        f'<li class="{"good" if finding.ok else "bad"}">{escape(finding.text)}</li>' for finding in findings(results)
    ]
    return f'<ul class="findings">{"".join(items)}</ul>' if items else ""


def _table(results: Results) -> str:
    heads = [
        "file",
        "engine",
        "accuracy",
        "predicted",
        "measured",
        "p50",
        "p90",
        "size",
        "speed-up",
        "limit",
        "verified",
    ]
    rows = [
        f'<tr class="{"twin" if row.role == "fp32 twin" else ""}">{_row(results, target, row)}</tr>'
        for target in results.targets
        for row in target.rows
    ]
    text = (
        f"Latency is the {results.statistic} of all runs of the exported file, one image, as timed on the device; "
        "speed-up is over the fastest fp32 twin of the same target. "
        "“Verified” is what a fresh process without hwnas found."
    )
    return _section("Exported files", text, _html_table(heads, rows, numeric=range(2, 9)))


def _row(results: Results, target: Target, row: Row) -> str:
    ratio, verdict = speed_up(target, row), limit_verdict(row, results.limits)
    numbers = [
        f"{row.accuracy:.2%}",
        *(_latency(value) for value in (row.predicted_us, row.measured_us, row.p50_us, row.p90_us)),
        readable_bytes(row.size_bytes),
        "" if ratio is None else _ratio(ratio),
    ]
    name = row.precision if row.role == "winner" else row.role
    cells = [f'<td class="nowrap {tone(row.precision)}"><span class="dot"></span>{escape(name)}</td>']
    cells.append(f'<td class="nowrap">{escape(row.engine)}</td>')
    cells += [f'<td class="n">{text}</td>' for text in numbers]
    cells.append(f'<td class="words {"good" if row.limit_ok else "bad"}">{escape(verdict)}</td>')
    return "".join(cells) + f'<td class="words">{escape(row.verified)}</td>'


def _pareto(results: Results) -> str:
    plot = pareto_plot(results)
    if not plot:
        return ""
    precisions = dict.fromkeys(row.precision for target in results.targets for row in target.rows)
    legend = "".join(f'<li class="{tone(name)}"><span class="dot"></span>{escape(name)}</li>' for name in precisions)
    shapes = (
        "faint dots: what the search tried",
        "stairs: the front",
        "diamonds: exported files",
        "squares: fp32 twins",
    )
    legend += "".join(f"<li>{text}</li>" for text in shapes)
    left_out = drawn_share(results)
    text = (
        "Trials and fronts are the supernet’s estimate at the predicted cost; "
        "exported files are the final network as measured."
        + (f" {left_out[0].upper()}{left_out[1:]}." if left_out else "")
    )
    return _section("Accuracy against cost", text, f'{plot}<ul class="legend">{legend}</ul>')


def _blocks(results: Results) -> str:
    groups = "".join(_block_group(target) for target in results.targets if target.blocks)
    text = "Predicted from the latency tables, as the winners run them; the thin grey bar is the same block in fp32."
    return _section("Latency by block", text, groups) if groups else ""


def _block_group(target: Target) -> str:
    longest = max(max(block.predicted_us, block.twin_us or 0.0) for block in target.blocks) or 1.0
    total = sum(block.predicted_us for block in target.blocks)
    bars = "".join(_bar(block, longest) for block in target.blocks)
    heading = (
        f"{escape(target.precision)} on {escape(target.engine)}, {readable_us(total)} in {len(target.blocks)} blocks"
    )
    return f'<h3>{heading}</h3><div class="bars">{bars}</div>'


def _bar(block: Block, longest: float) -> str:
    tip = escape(f"{block.operator}", quote=True)
    bar = f'<div class="bar {tone(block.precision)}" style="width:{100 * block.predicted_us / longest:.1f}%"></div>'
    if block.twin_us is not None and block.precision != "fp32":
        bar += f'<div class="bar thin" style="width:{100 * block.twin_us / longest:.1f}%"></div>'
    value = f'<div class="value">{readable_us(block.predicted_us)}</div>'
    return f'<div>{escape(block.name)}</div><div class="track" title="{tip}">{bar}</div>{value}'


def _cards(results: Results) -> str:
    if not results.cards:
        return ""
    heads = ["table", "networks", "MAPE", "within 10 %", "Spearman", "noise floor", "FLOPs: MAPE", "FLOPs: Spearman"]
    rows = []
    for name, card in results.cards.items():
        cells = [
            str(card.n_test),
            f"{card.mape:.1%}",
            f"{card.within_10:.1%}",
            f"{card.spearman:.3f}",
            f"{card.noise_floor:.1%}",
        ]
        cells += [f"{card.baseline_mape:.1%}", f"{card.baseline_spearman:.3f}"]
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(f'<td class=n>{cell}</td>' for cell in cells)}</tr>")
    text = (
        "Random whole networks, timed on the device and never used to fit the table. "
        "The noise floor is how far the device repeats itself; FLOPs with the same affine fit is the baseline to beat."
    )
    return _section("How well the tables predict", text, _html_table(heads, rows, numeric=range(1, 8)))


def _architectures(results: Results) -> str:
    groups = "".join(_architecture(target) for target in results.targets if target.architecture)
    return (
        _section(
            "Architectures",
            "What each search picked, choice by choice: the whole net first, then stage by stage.",
            groups,
        )
        if groups
        else ""
    )


def _architecture(target: Target) -> str:
    heading = f"<h3>{escape(target.precision)} on {escape(target.engine)}</h3>"
    places: dict[str, dict[str, Scalar]] = {}
    for name, value in target.architecture.items():
        place, _, choice = name.rpartition(".")
        places.setdefault(place or "net", {})[choice] = value
    columns = list(dict.fromkeys(choice for choices in places.values() for choice in choices))
    rows = []
    for place, choices in sorted(places.items(), key=lambda item: (item[0] != "net", item[0])):
        cells = "".join(f'<td class="n">{escape(str(choices.get(column, "")))}</td>' for column in columns)
        rows.append(f"<tr><td>{escape(place)}</td>{cells}</tr>")
    operators = "".join(f"<div>{escape(block.name)}: {escape(block.operator)}</div>" for block in target.blocks)
    listing = (
        f'<details><summary>operators as they run</summary><div class="mono">{operators}</div></details>'
        if operators
        else ""
    )
    return heading + _html_table(["place", *columns], rows, numeric=range(1, len(columns) + 1)) + listing


def _provenance(results: Results) -> str:
    device = results.device
    sizes = (
        f"{results.dataset.train} train, {results.dataset.validation} validation, {results.dataset.test} test images"
    )
    facts = [
        ("command", f"<code>{escape(results.command)}</code>"),
        ("made", escape(results.created)),
        ("seed", str(results.seed)),
        ("device", f"{escape(device.name)}, {escape(device.model)}, digest <code>{escape(device.digest)}</code>"),
        ("data", f"{escape(results.dataset.name)}: {sizes}"),
        ("versions", escape(", ".join(f"{name} {version}" for name, version in results.versions.items()))),
        *(
            (f"reachable {reach.name}", _reach_text(reach.target, reach.low, reach.high, reach.unit))
            for reach in results.reachable
        ),
        *(("file", f"<code>{escape(row.file)}</code>") for target in results.targets for row in target.rows),
        *(("note", escape(note)) for note in results.notes),
    ]
    if results.linear_baseline_accuracy is not None:
        facts.insert(5, ("linear classifier", f"{results.linear_baseline_accuracy:.2%} on the same test images"))
    listed = "".join(
        f"<dt>{escape(key)}</dt><dd>{value}</dd>" for key, value in facts if value and value != "<code></code>"
    )
    return _section("Provenance", "", _stages(results.seconds) + f'<dl class="facts">{listed}</dl>')


def _reach_text(target: str, low: float, high: float, unit: str) -> str:
    return f"{escape(target)}: {escape(readable(low, unit))} to {escape(readable(high, unit))}"


def _stages(seconds: dict[str, float]) -> str:
    stages = {name: spent for name, spent in seconds.items() if name != "total"}
    if not sum(stages.values()):
        return ""
    total = seconds.get("total", sum(stages.values()))
    fade = 0.62 / max(1, len(stages) - 1)  # the first stage at full strength, the last at 38 %
    spans = "".join(
        f'<span style="flex:{spent:.3f};opacity:{1 - fade * i:.2f}" title="{escape(name)} {spent:.1f} s"></span>'
        for i, (name, spent) in enumerate(stages.items())
    )
    text = " · ".join(f"{escape(name)} {spent:.1f} s" for name, spent in stages.items())
    return f'<div class="stack">{spans}</div><p class="caption">{text} · together {total:.0f} s</p>'


def _section(title: str, text: str, body: str) -> str:
    caption = f'<p class="caption">{escape(text)}</p>' if text else ""
    return f"<section><h2>{escape(title)}</h2>{caption}{body}</section>"


def _html_table(heads: list[str], rows: Iterable[str], numeric: range) -> str:
    head = "".join(f'<th class="{"n" if i in numeric else ""}">{escape(text)}</th>' for i, text in enumerate(heads))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _ratio(ratio: float) -> str:
    return f'<span class="{"good" if ratio > 1 else "bad"}">{ratio:.2f}×</span>'


def _latency(value: float | None) -> str:
    return "–" if value is None else readable_us(value)
