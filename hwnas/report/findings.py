"""Findings: what the figures of a run mean, said plainly, once for both reports.

The speed-up of a row is over the fastest fp32 twin of its target on any engine, the strictest comparison there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwnas import find, formats
from hwnas.confidence import wilson
from hwnas.network import FULL_PRECISION
from hwnas.report.results import Limit, Results, Row, Target
from hwnas.units import readable_bytes, readable_metric, readable_us

QUANTISING_MARGIN = 0.01  # one point of accuracy: what low-bit arithmetic may lose before it is called out
NOISY = 0.05  # a table whose own repeat differs by more cannot support a claim finer than that
PREDICTED = {"latency", "energy"}  # what the tables predict where nothing is timed; bytes are read from the file
PREDICTION_MARGIN = 0.10  # beyond this a prediction was no guide, though its file may be within the limit


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and whether it is good news."""

    ok: bool
    text: str


def fastest_twin(target: Target) -> Row | None:
    """The fp32 twin that was measured fastest, on any engine."""
    timed = [row for row in target.rows if row.role == "fp32 twin" and row.measured_us is not None]
    return min(timed, key=lambda row: row.measured_us or 0.0, default=None)


def speed_up(target: Target, row: Row) -> float | None:
    """How many times faster than the fastest fp32 twin the row was measured; None for the twin itself."""
    twin = fastest_twin(target)
    if row.role == "fp32 twin" or row.precision == FULL_PRECISION or twin is None or not row.measured_us:
        return None
    return (twin.measured_us or 0.0) / row.measured_us


def arithmetic_of(precision: str) -> str:
    """ "float", "integer" or "signs"; "mixed" for a mixed network, and for a format that is not there any more."""
    return formats.of(precision).arithmetic if find.has("formats", precision) else "mixed"


def named(row: Row) -> str:
    """`int8 on onnxruntime`."""
    return f"{row.precision} on {row.engine}"


def interval(results: Results, row: Row) -> tuple[float, float]:
    """The 95 % interval of the row's test accuracy; worked out here where an older file lacks it."""
    if row.accuracy_low is not None and row.accuracy_high is not None:
        return row.accuracy_low, row.accuracy_high
    return wilson(row.accuracy, row.test_images or results.dataset.test)


def shown(results: Results, value: float) -> str:
    """A value of the run's metric, as a person reads it."""
    return readable_metric(value, results.measure.unit)


def headed(metric: str) -> str:
    """A metric's name at the start of a line: `Accuracy`, but `mIoU` as it is."""
    return metric.capitalize() if metric.islower() else metric


def examples(results: Results) -> str:
    """What the data set's examples are called."""
    return "images" if len(results.dataset.input_shape) == 3 else "examples"


def tested_on(results: Results) -> str:
    """How many images the accuracies are of: `360 test images`, `425 to 980 of 6000 test images`."""
    whole = results.dataset.test
    counts = sorted({row.test_images or whole for target in results.targets for row in target.rows} or {whole})
    if counts == [whole]:
        return f"{whole} test {examples(results)}"
    return f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} of {whole} test {examples(results)}"


def latency_of(row: Row, statistic: str) -> float | None:
    """The latency that a limit of this statistic bounds: as measured, or as predicted of a file that was not timed."""
    if row.not_timed:
        return row.predicted_us
    return {"min": row.measured_us, "p50": row.p50_us, "p90": row.p90_us, "p99": row.p99_us}.get(statistic)


def untimed(results: Results) -> str:
    """Why no file was timed, `not timed: board is not this machine`; empty where any was."""
    reasons = [row.not_timed for target in results.targets for row in target.rows]
    return (reasons[0] or "") if reasons and all(reasons) else ""


def shipped_bytes(row: Row) -> int:
    """What is copied to the device."""
    return row.size_bytes if row.file_bytes is None else row.file_bytes


def value_of(row: Row, cost: str, statistic: str = "min") -> float | None:
    """What the row has of a limited cost, as measured where it is measured."""
    values: dict[str, float | None] = {
        "latency": latency_of(row, statistic),
        "energy": row.predicted_uj if row.not_timed else row.energy_uj,
        "size": row.size_bytes if row.weight_bytes is None else row.weight_bytes,
        "peak_memory": row.peak_bytes if row.arena_bytes is None else row.arena_bytes,
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


def limits_in_words(results: Results) -> str:
    """`latency (p90) <= 200.0 us, size <= 97.7 KiB`."""
    return ", ".join(f"{quantity(results, limit)} <= {readable(limit.value, limit.unit)}" for limit in results.limits)


def quantity(results: Results, limit: Limit) -> str:
    """The limited quantity, with its statistic where that is not the minimum."""
    return f"latency ({results.statistic})" if limit.name == "latency" and results.statistic != "min" else limit.name


def in_unit_of(limit: Limit, row: Row, statistic: str = "min") -> float | None:
    """The row's cost in the limit's own unit."""
    value = value_of(row, limit.name, statistic)
    return value / 1e3 if value is not None and limit.unit == "ms" else value


def limit_verdict(row: Row, limits: tuple[Limit, ...], statistic: str = "min") -> str:
    """`within`, or by how much each exceeded limit is exceeded; empty where no limit applies to the row. A verdict that
    rests on a prediction says so."""
    if kept(row) is None:
        return ""
    told = " as predicted" if row.not_timed and PREDICTED & set(row.verdicts) else ""
    over = [
        f"{limit.name} over by {readable(excess, limit.unit)} ({share:+.1%})"
        for limit, excess, share in _excess(row, limits, statistic)
    ]
    over += [f"{name} over" for name, ok in row.verdicts.items() if not ok and not any(name in text for text in over)]
    if over:
        return "; ".join(over) + told
    return ("within" if kept(row) else "over") + told


def kept(row: Row) -> bool | None:
    """Whether a file, a twin too, is within every limit; None where nothing was judged. Only a winner's fails a run."""
    return row.limit_ok if row.limit_ok is not None or not row.verdicts else all(row.verdicts.values())


def breaches(results: Results) -> list[str]:
    """Every winner that exceeds a limit, in words."""
    return [
        f"{named(row)}: {limit_verdict(row, results.limits, results.statistic)} ({limits_in_words(results)})"
        for target in results.targets
        for row in target.rows
        if row.role == "winner" and row.limit_ok is False
    ]


def _excess(row: Row, limits: tuple[Limit, ...], statistic: str) -> Iterator[tuple[Limit, float, float]]:
    for limit in limits:
        value = in_unit_of(limit, row, statistic)
        if value is not None and value > limit.value:
            yield limit, value - limit.value, value / limit.value - 1


def findings(results: Results) -> list[Finding]:
    """Limits, speed and accuracy against fp32, a linear classifier, predictions, noise and drift; in this order."""
    found: list[Finding] = []
    for target in results.targets:
        for row in target.rows:
            if row.role == "winner":
                found += _about_winner(results, target, row)
    found += _about_predictions(results)
    if untimed(results):
        what = "latencies and verdicts on them are predictions; hwnas verify on the device measures them"
        found.append(Finding(False, f"{untimed(results)}; {what}"))
    found += [
        Finding(False, f"table {name} repeats itself only to {card.noise_floor:.1%}: the machine was busy")
        for name, card in results.cards.items() if card.noise_floor > NOISY
    ]  # fmt: skip
    found += [
        Finding(
            abs(share) <= NOISY,
            f"table {name}: rows timed again beside the exported files are {share:+.1%} off what the search read",
        )
        for name, share in results.drift.items()
    ]
    return [*found, *_about_memory(results)]


def _about_winner(results: Results, target: Target, row: Row) -> Iterator[Finding]:
    if row.limit_ok is not None:
        verdict = limit_verdict(row, results.limits, results.statistic)
        said = verdict.replace("within", "within its limit", 1)
        yield Finding(row.limit_ok, f"{named(row)}: {said} ({limits_in_words(results)})")
    ratio, twin = speed_up(target, row), fastest_twin(target)
    if ratio is not None and twin is not None and row.measured_us is not None and twin.measured_us is not None:
        pair = f"{readable_us(row.measured_us)} against {readable_us(twin.measured_us)} on {twin.engine}"
        said = f"{ratio:.2f}x as fast as" if ratio > 1 else "NOT faster than"
        yield Finding(ratio > 1, f"{named(row)}: {said} its fastest fp32 twin ({pair})")
    yield from _about_accuracy(results, target, row)


def _about_accuracy(results: Results, target: Target, row: Row) -> Iterator[Finding]:
    metric, baseline = results.measure.metric, results.measure.baseline
    twins = [other.accuracy for other in target.rows if other.role == "fp32 twin"]
    points = results.measure.unit == "%"  # only of shares is it known what one point is worth
    if arithmetic_of(row.precision) == "integer" and twins and points:
        lost = max(twins) - row.accuracy
        said = "within 1 point of" if lost <= QUANTISING_MARGIN else "more than 1 point below"
        yield Finding(
            lost <= QUANTISING_MARGIN, f"{named(row)}: {metric} {row.accuracy:.2%}, {said} fp32's {max(twins):.2%}"
        )
    if row.precision != FULL_PRECISION and row.float_accuracy is not None and points:
        lost = row.float_accuracy - row.accuracy
        if lost > QUANTISING_MARGIN:
            text = f"loses {100 * lost:.2f} points against its own float net ({row.float_accuracy:.2%})"
            yield Finding(False, f"{named(row)}: {metric} {row.accuracy:.2%}, {text}")
    linear = results.linear_baseline_accuracy
    if arithmetic_of(row.precision) == "signs" and linear is not None:
        said = "above" if row.accuracy > linear else "NOT above"
        yield Finding(
            row.accuracy > linear,
            f"{named(row)}: {metric} {shown(results, row.accuracy)}, {said} a {baseline}'s {shown(results, linear)}",
        )
    if row.trained_further is not None and row.trained_further["epochs"] > 0:
        yield _about_training(results, row, row.trained_further)


def _about_training(results: Results, row: Row, record: dict[str, float]) -> Finding:
    before, after = record["inherited_accuracy"], record["accuracy"]
    took = f"{record['epochs']:.0f} epochs, {record['seconds']:.0f} s"
    unit = results.measure.unit
    more = f"{100 * (after - before):+.1f} points" if unit == "%" else f"{after - before:+.2f} {unit}".rstrip()
    gain = f"{more} on validation {examples(results)} ({shown(results, before)} to {shown(results, after)})"
    return Finding(after >= before, f"{named(row)}: trained further ({took}): {gain}")


def prediction_error(row: Row, statistic: str) -> float | None:
    """predicted / measured - 1, of the statistic that is limited; None where nothing was timed."""
    measured = None if row.not_timed else latency_of(row, statistic)
    return None if not measured or row.predicted_us is None else row.predicted_us / measured - 1.0


def _about_predictions(results: Results) -> Iterator[Finding]:
    """Every exported file whose latency the tables did not predict within 10 %, or that there is none."""
    rows = [row for target in results.targets for row in target.rows]
    errors = [(row, error) for row in rows if (error := prediction_error(row, results.statistic)) is not None]
    wrong = [(row, error) for row, error in errors if abs(error) > PREDICTION_MARGIN]
    for row, error in wrong:
        predicted, measured = row.predicted_us, latency_of(row, results.statistic)
        assert predicted is not None and measured is not None
        pair = f"predicted {readable_us(predicted)}, measured {readable_us(measured)}"
        yield Finding(False, f"{named(row)} ({row.role}): {pair}: the prediction is {error:+.0%} off")
    if errors and not wrong:
        yield Finding(True, f"all {len(errors)} predicted latencies are within {PREDICTION_MARGIN:.0%} of the measured")


def _about_memory(results: Results) -> Iterator[Finding]:
    """What a limit on memory means for an engine that places its own tensors."""
    limited = any(limit.name == "peak_memory" for limit in results.limits)
    engines = {row.engine for target in results.targets for row in target.rows if row.arena_bytes is None}
    for engine in sorted(engines) if limited else ():
        yield Finding(
            False,
            f"{engine} places its tensors itself: peak memory of its files is an estimate from shapes, not measured",
        )
