"""What calling an engine from Python costs: taken off every run, of the engine and of the library alike.

A file's latency is what a C or C++ program pays for it: all that the engine does, none of what Python adds. Both sides
are timed through a binding (pybind11 for ONNX Runtime, ctypes for a library), so from both the cost of an empty call
through the same binding is taken off. What ONNX Runtime itself does in a call stays in: every caller pays it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Less than this share of the calls themselves is never reported: it is what their own timing resolves.
LEAST_SHARE = 0.02


def loop_us(call: Callable[[], object], repeats: int) -> float:
    """Microseconds of `repeats` calls back to back."""
    start = time.perf_counter_ns()
    for _ in range(repeats):
        call()
    return (time.perf_counter_ns() - start) / 1e3


def least_call_us(call: Callable[[], object]) -> float:
    """The cost of one call: the least of many loops.

    Each loop is short enough to slip between two interrupts, and the bursts lie apart in time: a figure taken while the
    machine was disturbed would be taken off every run, and make whatever is timed look faster than it is.
    """
    best = float("inf")
    for _ in range(10):
        best = min(best, *(loop_us(call, 50) / 50 for _ in range(100)))
        time.sleep(0.01)
    return best


def without_calls(took_us: float, repeats: int, call_us: float) -> float:
    """`took_us` of `repeats` runs less what calling them cost."""
    return max(took_us - repeats * call_us, LEAST_SHARE * repeats * call_us)
