"""Units: what a quantity is called, and how a person reads it."""

from __future__ import annotations

import sys

from hwnas.errors import HwnasError

MICROSECONDS_PER_MS = 1e3


def positive(value: object, name: str) -> float:
    """`value` as a finite number above zero; HwnasError names `name` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise HwnasError(f"{name} must be a number, got {value!r}")
    if not 0 < value <= sys.float_info.max:  # NaN as well; an int may be larger than any float
        raise HwnasError(f"{name} must be a finite number above 0, got {value!r}")
    return float(value)


def readable_bytes(count: float) -> str:
    """12345 -> '12.1 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def readable_us(latency_us: float) -> str:
    """Microseconds as the unit a person would choose."""
    if latency_us < 1000:
        return f"{latency_us:.1f} us"
    return f"{latency_us / 1000:.3f} ms" if latency_us < 1e6 else f"{latency_us / 1e6:.2f} s"


def readable_seconds(seconds: float) -> str:
    """75 -> '1 min 15 s'."""
    whole = round(seconds)
    if whole < 60:
        return f"{max(1, whole)} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def readable_metric(value: float, unit: str) -> str:
    """A task's metric: a share as `98.05%` where the unit is "%", else the number with its unit."""
    return f"{value:.2%}" if unit == "%" else f"{value:.2f} {unit}".rstrip()


def readable_score(value: float, unit: str) -> str:
    """A scorer's figure: a metric where it has a unit, else a number that only ranks, as `0.9731`."""
    return readable_metric(value, unit) if unit else f"{value:.4g}"
