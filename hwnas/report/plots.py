"""The Pareto plot as inline SVG: what the search tried, its front, the exported files as measured, and the limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from hwnas.report.findings import arithmetic_of, headed, interval, named, readable, shown, value_of
from hwnas.report.results import Limit, Results, Row, Target, Task

WIDE, NARROW = (1000, 440), (340, 360)  # drawn for a screen and for a telephone, whose letters would be too small
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 30, 50
MAX_DOTS = 1500  # beyond this the dots are one blot and the file grows: every k-th is drawn, and the caption says so
LABEL_HEIGHT = 16
GLYPH = 7.8  # pixels of a bold 12 px letter, on the wide side
LOG_FROM = 6.0  # a cost range of more than this ratio is drawn on a logarithmic axis


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: data from `low` to `high` onto pixels from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def ticks(self) -> list[float]:
        """Round numbers inside the range: 1, 2, 5 times powers of ten."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            return [v for d in decades for m in (1, 2, 5) if self.holds(v := m * 10.0**d)]
        raw = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def plotted_cost(results: Results) -> tuple[str, str]:
    """The cost on the x axis with its unit: the first limit's, or latency in microseconds."""
    for limit in results.limits:
        if any(limit.name in trial.costs for target in results.targets for trial in target.trials):
            return limit.name, limit.unit
    return "latency", "us"


def pareto_plot(results: Results, size: tuple[int, int] = WIDE) -> str:
    """One `<svg>` over all targets; an empty string where there is nothing to draw."""
    cost, unit = plotted_cost(results)
    x, y = _axes(results, cost, size)
    if x is None or y is None:
        return ""
    limits = [limit for limit in results.limits if limit.name == cost]
    parts = [_frame(x, y, cost, unit, results.measure), *(_limit_line(limit, x, y) for limit in limits)]
    parts += [_dots(target, cost, x, y) for target in results.targets]
    parts += [_front(results, target, cost, x, y) for target in results.targets]
    parts.append(_files(results, cost, unit, x, y))
    shape = "wide" if size == WIDE else "narrow"
    return (
        f'<svg class="plot {shape}" viewBox="0 0 {size[0]} {size[1]}" role="img" '
        f'aria-label="{escape(headed(results.measure.metric))} against {escape(cost)}: trials, front, exported files '
        f'and limit">{"".join(parts)}</svg>'
    )


def drawn_share(results: Results) -> str:
    """What the plot leaves out, for its caption; empty when it shows every trial."""
    cost, _ = plotted_cost(results)
    x, y = _axes(results, cost)
    trials = [
        (trial.costs[cost], trial.accuracy)
        for target in results.targets
        for trial in target.trials
        if cost in trial.costs
    ]
    outside = sum(1 for c, a in trials if x is not None and y is not None and not (x.holds(c) and y.holds(a)))
    thinned = any(len(target.trials) > MAX_DOTS for target in results.targets)
    said = [f"{outside} of {len(trials)} trials lie outside the frame"] if outside else []
    said += [f"of more than {MAX_DOTS} trials every k-th is drawn"] if thinned else []
    return "; ".join(said)


def cost_of(row: Row, cost: str) -> float | None:
    """What the plot places a file at: measured latency, or the cost as exported."""
    return row.measured_us or row.predicted_us if cost == "latency" else value_of(row, cost)


def _axes(results: Results, cost: str, size: tuple[int, int] = WIDE) -> tuple[Axis, Axis] | tuple[None, None]:
    trials = [(t.costs[cost], t.accuracy) for target in results.targets for t in target.trials if cost in t.costs]
    kept = [(p.costs[cost], p.accuracy) for target in results.targets for p in target.front if cost in p.costs]
    kept += [
        (c, row.accuracy) for target in results.targets for row in target.rows if (c := cost_of(row, cost)) is not None
    ]
    if not trials and not kept:
        return None, None
    # Far outliers would squeeze what matters into a corner. The frame holds every file and every front; of the trials,
    # all but the dearest, and those less accurate by not much more than the front itself spans.
    costs = [c for c, _ in kept] + _middle([c for c, _ in trials], 0.0, 0.98)
    costs += [limit.value for limit in results.limits if limit.name == cost]
    worst, best = min(a for _, a in kept or trials), max(a for _, a in kept or trials)
    floor = worst - 0.3 * (best - worst)
    accuracies = [worst, best] + [a for _, a in trials if a >= floor]
    low, high = min(costs), max(costs)
    log = low > 0 and high / low > LOG_FROM
    x_low, x_high = (low / 1.12, high * 1.18) if log else (low - (high - low) * 0.06, high + (high - low) * 0.10 + 1e-9)
    pad = (max(accuracies) - min(accuracies)) * 0.12 or 0.01
    x = Axis(x_low if log else max(0.0, x_low), x_high, LEFT, size[0] - RIGHT, log)
    y_low, y_high = min(accuracies) - pad, max(accuracies) + pad
    if results.measure.unit == "%":
        y_low, y_high = max(0.0, y_low), min(1.005, y_high)
    y = Axis(y_low, y_high, size[1] - BOTTOM, TOP)
    return x, y


def _middle(values: Sequence[float], low: float, high: float) -> list[float]:
    ordered = sorted(values)
    return ordered[int(len(ordered) * low) : max(1, math.ceil(len(ordered) * high))]


def _frame(x: Axis, y: Axis, cost: str, unit: str, measure: Task) -> str:
    parts = []
    digits = 0 if y.high - y.low > 0.06 else 1

    def shown_at(tick: float) -> str:
        return f"{tick * 100:.{digits}f} %" if measure.unit == "%" else f"{tick:g} {measure.unit}".rstrip()

    for tick in y.ticks():
        at = y(tick)
        parts.append(f'<line class="grid" x1="{x.start}" x2="{x.stop}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{x.start - 8}" y="{at + 4:.1f}" text-anchor="end">{shown_at(tick)}</text>')
    for tick in x.ticks():
        at = x(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{y.stop}" y2="{y.start}"/>')
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{y.start + 18}" text-anchor="middle">{_tick(tick, unit)}</text>'
        )
    scale = ", logarithmic" if x.log else ""
    parts.append(f'<text class="axis" x="{x.stop}" y="{y.start + 40}" text-anchor="end">{escape(cost)}{scale} →</text>')
    parts.append(f'<text class="axis" x="{x.start}" y="{y.stop - 14}">↑ {escape(measure.metric)}</text>')
    return "".join(parts)


def _tick(value: float, unit: str) -> str:
    """A tick label without the zeros that a figure's precision would need."""
    for factor, name in ((1e6, "s"), (1e3, "ms")):
        if unit == "us" and value >= factor:
            return f"{value / factor:g} {name}"
    if unit == "bytes" and value >= 1024:
        return f"{value / 1024:.3g} KiB" if value < 1024**2 else f"{value / 1024**2:.3g} MiB"
    return f"{value:g} {escape(unit)}"


def _limit_line(limit: Limit, x: Axis, y: Axis) -> str:
    if not x.holds(limit.value):
        return ""
    at = x(limit.value)
    return (
        f'<rect class="over" x="{at:.1f}" y="{y.stop}" width="{x.stop - at:.1f}" height="{y.start - y.stop}"/>'
        f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{y.stop - 6}" y2="{y.start}"/>'
        f'<text class="limit-label" x="{at:.1f}" y="{y.stop - 12}" text-anchor="middle">'
        f"limit {escape(readable(limit.value, limit.unit))}</text>"
    )


def _dots(target: Target, cost: str, x: Axis, y: Axis) -> str:
    every = math.ceil(len(target.trials) / MAX_DOTS) or 1
    dots = [
        f'<circle cx="{x(c):.1f}" cy="{y(trial.accuracy):.1f}" r="2.4"/>'
        for trial in target.trials[::every]
        if (c := trial.costs.get(cost)) is not None and x.holds(c) and y.holds(trial.accuracy)
    ]
    return f'<g class="dots {tone(target.precision)}">{"".join(dots)}</g>'


def _front(results: Results, target: Target, cost: str, x: Axis, y: Axis) -> str:
    """The staircase of the front: at each cost, the best accuracy that costs no more."""
    points = sorted((p.costs[cost], p.accuracy) for p in target.front if cost in p.costs)
    steps: list[tuple[float, float]] = []
    for c, accuracy in points:
        if not steps or accuracy > steps[-1][1]:
            steps.append((c, accuracy))
    if not steps:
        return ""
    path = f"M{x(steps[0][0]):.1f} {y(steps[0][1]):.1f}" + "".join(f"H{x(c):.1f}V{y(a):.1f}" for c, a in steps[1:])
    marks = "".join(
        f'<circle cx="{x(c):.1f}" cy="{y(a):.1f}" r="3.6"><title>{shown(results, a)}</title></circle>' for c, a in steps
    )
    return f'<g class="front {tone(target.precision)}"><path d="{path}"/>{marks}</g>'


def _files(results: Results, cost: str, unit: str, x: Axis, y: Axis) -> str:
    """Exported files: filled diamonds for winners, hollow squares for twins, labels apart from each other."""
    found = [(row, c) for target in results.targets for row in target.rows if (c := cost_of(row, cost)) is not None]
    placed = [(x(c) - 9, x(c) + 9, y(row.accuracy) + 4) for row, c in found]  # a label is kept off every mark, too
    labels, marks = [], []
    for row, c in sorted(found, key=lambda pair: -pair[0].accuracy):
        at_x, at_y = x(c), y(row.accuracy)
        winner = row.role == "winner"
        value = shown(results, row.accuracy)
        title = f"<title>{escape(named(row))} ({row.role}): {escape(value)}, {escape(readable(c, unit))}</title>"
        shape = (
            _diamond(at_x, at_y) if winner else f'<rect x="{at_x - 5:.1f}" y="{at_y - 5:.1f}" width="10" height="10"/>'
        )
        if results.ship is not None and results.ship.file == row.file:
            shape = f'<circle class="ship" cx="{at_x:.1f}" cy="{at_y:.1f}" r="13"/>' + shape
        role = "pick" if winner else "twin"
        whisker = _whisker(results, row, at_x, y)
        marks.append(f'<g class="{role} {tone(row.precision)}">{whisker}{shape}{title}</g>')
        if winner:  # the legend says what a square is
            labels.append(_label(named(row), at_x, at_y, placed, x, y))
    return "".join(labels + marks)


def _whisker(results: Results, row: Row, at_x: float, y: Axis) -> str:
    """The 95 % interval of the accuracy, as far as it lies inside the frame."""
    low, high = (min(max(end, y.low), y.high) for end in interval(results, row))
    return f'<line class="whisker" x1="{at_x:.1f}" x2="{at_x:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'


def _label(text: str, at_x: float, at_y: float, placed: list[tuple[float, float, float]], x: Axis, y: Axis) -> str:
    """The text at the first free place: right of its mark, left of it, then lower and lower."""
    width = GLYPH * len(text)
    for down in range(0, int(y.start - y.stop), LABEL_HEIGHT):
        for start, anchor, edge in ((at_x + 12, "start", at_x + 12), (at_x - 12 - width, "end", at_x - 12)):
            line, stop = at_y + 4 + down, start + width
            inside = start >= x.start and stop <= x.stop
            taken = any(abs(line - other) < LABEL_HEIGHT and start < q and p < stop for p, q, other in placed)
            if inside and not taken:
                placed.append((start, stop, line))
                text_at = f'x="{edge:.1f}" y="{line:.1f}" text-anchor="{anchor}"'
                return f'<text class="label" {text_at}>{escape(text)}</text>'
    return ""


def _diamond(x: float, y: float, size: float = 7.5) -> str:
    return f'<path d="M{x:.1f} {y - size:.1f}L{x + size:.1f} {y:.1f}L{x:.1f} {y + size:.1f}L{x - size:.1f} {y:.1f}Z"/>'


def tone(precision: str) -> str:
    """The CSS class that carries the precision's colour: one for each arithmetic."""
    return f"p-{arithmetic_of(precision)}"
