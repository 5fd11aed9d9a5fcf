"""Findings: what the figures of a run mean, said plainly, once for both reports.

The speed-up of a row is over the fastest fp32 twin of its target on any engine, the strictest comparison there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwnas.report.results import Limit, Results, Row, Target
from hwnas.units import readable_bytes, readable_us

INT8_MARGIN = 0.01  # one point of accuracy: what an INT8 network may lose to its fp32 twin before it is called out
NOISY = 0.05  # a table whose own repeat differs by more cannot support a claim finer than that


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and whether it is good news."""

    ok: bool
    text: str


def twin_us(target: Target) -> float | None:
    """Measured latency of the fastest fp32 twin."""
    measured = [row.measured_us for row in target.rows if row.role == "fp32 twin" and row.measured_us is not None]
    return min(measured, default=None)


def speed_up(target: Target, row: Row) -> float | None:
    """How many times faster than the fastest fp32 twin the row was measured; None for the twin itself."""
    twin = twin_us(target)
    if row.role == "fp32 twin" or row.precision == "fp32" or twin is None or not row.measured_us:
        return None
    return twin / row.measured_us


def named(row: Row) -> str:
    """`int8 on onnxruntime`."""
    return f"{row.precision} on {row.engine}"


def value_of(row: Row, cost: str) -> float | None:
    """What the row has of a limited cost, as measured where it is measured."""
    values: dict[str, float | None] = {
        "latency": row.measured_us,
        "energy": row.energy_uj,
        "size": row.size_bytes if row.weight_bytes is None else row.weight_bytes,
        "peak_memory": row.peak_bytes,
        "peak": row.peak_bytes,
    }
    return values.get(cost)


def readable(value: float, unit: str) -> str:
    """A cost as a person reads it."""
    if unit == "us":
        return readable_us(value)
    if unit == "ms":
        return readable_us(value * 1e3)
    if unit in ("bytes", "B"):
        return readable_bytes(value)
    return f"{value:.4g} {unit}"


def in_unit_of(limit: Limit, row: Row) -> float | None:
    """The row's cost in the limit's own unit."""
    value = value_of(row, limit.name)
    return value / 1e3 if value is not None and limit.unit == "ms" else value


def limit_verdict(row: Row, limits: tuple[Limit, ...]) -> str:
    """`within`, or by how much each exceeded limit is exceeded; empty where no limit applies to the row."""
    if row.limit_ok is None:
        return ""
    over = [
        f"{limit.name} over by {readable(excess, limit.unit)} ({share:+.1%})"
        for limit, excess, share in _excess(row, limits)
    ]
    if over:
        return "; ".join(over)
    return "within" if row.limit_ok else "over"


def _excess(row: Row, limits: tuple[Limit, ...]) -> Iterator[tuple[Limit, float, float]]:
    for limit in limits:
        value = in_unit_of(limit, row)
        if value is not None and value > limit.value:
            yield limit, value - limit.value, value / limit.value - 1


def findings(results: Results) -> list[Finding]:
    """Limits, speed against fp32, accuracy against fp32 and against a linear classifier, noise; in this order."""
    found: list[Finding] = []
    for target in results.targets:
        for row in target.rows:
            if row.role == "winner":
                found += _about_winner(results, target, row)
    for name, card in results.cards.items():
        if card.noise_floor > NOISY:
            found.append(
                Finding(False, f"table {name} repeats itself only to {card.noise_floor:.1%}: the machine was busy")
            )
    return found


def _about_winner(results: Results, target: Target, row: Row) -> Iterator[Finding]:
    if row.limit_ok is not None:
        verdict = limit_verdict(row, results.limits)
        limits = ", ".join(f"{limit.name} <= {readable(limit.value, limit.unit)}" for limit in results.limits)
        yield Finding(
            row.limit_ok,
            f"{named(row)}: {verdict} {'its limit' if verdict == 'within' else ''} ({limits})".replace("  ", " "),
        )
    ratio, twin = speed_up(target, row), twin_us(target)
    if ratio is not None and twin is not None and row.measured_us is not None:
        pair = f"{readable_us(row.measured_us)} against {readable_us(twin)}"
        said = f"{ratio:.2f}x as fast as its fp32 twin" if ratio > 1 else "NOT faster than its fp32 twin"
        yield Finding(ratio > 1, f"{named(row)}: {said} ({pair})")
    yield from _about_accuracy(results, target, row)


def _about_accuracy(results: Results, target: Target, row: Row) -> Iterator[Finding]:
    twins = [other.accuracy for other in target.rows if other.role == "fp32 twin"]
    if row.precision == "int8" and twins:
        lost = max(twins) - row.accuracy
        said = "within 1 point of" if lost <= INT8_MARGIN else "more than 1 point below"
        yield Finding(lost <= INT8_MARGIN, f"{named(row)}: accuracy {row.accuracy:.2%}, {said} fp32's {max(twins):.2%}")
    linear = results.linear_baseline_accuracy
    if row.precision == "w1a1" and linear is not None:
        said = "above" if row.accuracy > linear else "NOT above"
        yield Finding(
            row.accuracy > linear,
            f"{named(row)}: accuracy {row.accuracy:.2%}, {said} a linear classifier's {linear:.2%}",
        )
