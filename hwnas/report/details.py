"""The second half of the page: latency by block, how far the tables can be trusted, architectures, provenance."""

from __future__ import annotations

from html import escape

from hwnas.network import FULL_PRECISION
from hwnas.report.findings import examples, readable, shown
from hwnas.report.html import number, section, table, text
from hwnas.report.plots import tone
from hwnas.report.results import Block, Results, Scalar, Target
from hwnas.units import readable_us


def details(results: Results) -> str:
    """Everything below the findings."""
    return "".join(part(results) for part in (_blocks, _cards, _architectures, _provenance))


def _blocks(results: Results) -> str:
    groups = "".join(_block_group(target) for target in results.targets if target.blocks)
    text = "Predicted from the latency tables, as the winners run them; the thin grey bar is the same block in fp32."
    return section("Latency by block", text, groups) if groups else ""


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
    if block.twin_us is not None and block.precision != FULL_PRECISION:
        bar += f'<div class="bar thin" style="width:{100 * block.twin_us / longest:.1f}%"></div>'
    value = f'<div class="value">{readable_us(block.predicted_us)}</div>'
    return f'<div>{escape(block.name)}</div><div class="track" title="{tip}">{bar}</div>{value}'


def _cards(results: Results) -> str:
    heads = ["table", "networks", "MAPE", "within 10 %", "Spearman", "noise floor", "MACs: MAPE", "MACs: Spearman"]
    rows = [
        (
            "",
            [
                text(name, "nowrap"),
                number(str(card.n_test)),
                *(number(f"{share:.1%}") for share in (card.mape, card.within_10)),
                number(f"{card.spearman:.3f}"),
                *(number(f"{share:.1%}") for share in (card.noise_floor, card.baseline_mape)),
                number(f"{card.baseline_spearman:.3f}"),
            ],
        )
        for name, card in results.cards.items()
    ]
    caption = (
        "Random whole networks, timed on the device and never used to fit the table. The noise floor is how far the "
        "device repeats itself; multiply-accumulates with the same affine fit are the baseline to beat."
    )
    return section("How well the tables predict", caption, table(heads, rows)) if rows else ""


def _architectures(results: Results) -> str:
    groups = "".join(_architecture(target) for target in results.targets if target.architecture)
    return (
        section(
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
    rows = [
        ("", [text(place), *(number(str(choices.get(column, ""))) for column in columns)])
        for place, choices in sorted(places.items(), key=lambda item: (item[0] != "net", item[0]))
    ]
    operators = "".join(f"<div>{escape(block.name)}: {escape(block.operator)}</div>" for block in target.blocks)
    listing = (
        f'<details><summary>operators as they run</summary><div class="mono">{operators}</div></details>'
        if operators
        else ""
    )
    return heading + table(["place", *columns], rows) + listing


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
        reached = shown(results, results.linear_baseline_accuracy)
        facts.insert(5, (results.measure.baseline, f"{reached} on at most 5,000 test {examples(results)}"))
    listed = "".join(
        f"<dt>{escape(key)}</dt><dd>{value}</dd>" for key, value in facts if value and value != "<code></code>"
    )
    return section("Provenance", "", _stages(results.seconds) + f'<dl class="facts">{listed}</dl>')


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
