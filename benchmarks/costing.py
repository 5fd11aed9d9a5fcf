"""Architectures costed from a table, a second, on one core, beside two plain ways of doing it in the same run.

    python benchmarks/costing.py            a table
    python benchmarks/costing.py --json     the bars as JSON

The space has more than 20 choices; its table is the null device's (a lookup costs the same whatever the row says).
The peers: a dictionary of rows summed for each architecture (what a table in a script does), and lowering the
architecture to its operators and summing their rows. All three must agree on every architecture.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from bars import Bar, arguments, report, versions  # type: ignore[import-not-found]  # the file beside this one

from hwnas.cost import Costing, OperatorCost
from hwnas.device import load_device
from hwnas.measure import measure_missing
from hwnas.space import Architecture, SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.table import latency_cost, open_table

ARCHITECTURES = 20_000
ROUNDS = 5
# Times faster than a dictionary a slot, which anyone would write first. Objects must be turned into indices one by one,
# which takes most of the time; from indices it is one gather a slot. Half of what two processors gave (4 and 190).
FROM_OBJECTS, FROM_INDICES = 2.0, 90.0


def space() -> SearchSpace:
    """A MobileNetV3-like space of 23 choices, three of them precisions of ends, four of blocks."""
    return mobile(
        3, 10, resolutions=(32, 48, 64), widths=((16, 24), (32, 40)), depths=(1, 2), strides=(2, 2), kernels=(3, 5, 7),
        expansions=(3, 4, 6), squeeze_excite=(False, True), precisions=("fp32", "int8"),
    )  # fmt: skip


def dictionary_sum(space: SearchSpace, cost: OperatorCost) -> Callable[[list[Architecture]], np.ndarray]:
    """One dictionary a slot, keyed by the values of the choices that the slot reads."""
    import itertools

    tables = []
    for slot in space.slots:
        rows = {}
        for values in itertools.product(*(space.by_name[name].options for name in slot.depends)):
            operator = slot.build(dict(zip(slot.depends, values, strict=True)))
            rows[values] = 0.0 if operator is None else cost.of(operator)
        tables.append((slot.depends, rows))

    def costs(architectures: list[Architecture]) -> np.ndarray:
        return np.array([sum(rows[tuple(a[n] for n in names)] for names, rows in tables) for a in architectures])

    return costs


def rate(run: Callable[[], np.ndarray], count: int) -> float:
    """Architectures a second, best of the rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return count / best


def bars() -> list[Bar]:
    searched, device = space(), load_device("null")
    with tempfile.TemporaryDirectory() as folder:
        measure_missing(searched.operators(), "tvm", device, Path(folder), progress=False)
        cost = latency_cost([open_table(Path(folder), device, "tvm", precision) for precision in ("fp32", "int8")])
    start = time.perf_counter()
    costing = Costing(searched, cost)
    built = time.perf_counter() - start
    rng = np.random.default_rng(0)
    architectures = [searched.random(rng) for _ in range(ARCHITECTURES)]
    codes = searched.encode(architectures)
    by_dictionary = dictionary_sum(searched, cost)
    few = architectures[:500]

    def by_lowering() -> np.ndarray:
        return np.array([cost(searched.lower(architecture)) for architecture in few])

    if not (np.allclose(costing(few), by_dictionary(few)) and np.allclose(costing(few), by_lowering())):
        raise SystemExit("the three ways of costing do not agree")

    def by_object() -> np.ndarray:
        return costing(architectures)

    def by_index() -> np.ndarray:
        return costing.of_codes(codes)

    start = time.perf_counter()
    costing.bounds()
    bounded = time.perf_counter() - start
    baseline = rate(lambda: by_dictionary(architectures[:4000]), 4000)
    objects, indices = rate(by_object, ARCHITECTURES), rate(by_index, ARCHITECTURES)
    return [
        Bar("times faster than a dictionary a slot, from Architecture objects", objects / baseline, FROM_OBJECTS),
        Bar("times faster than a dictionary a slot, from option indices", indices / baseline, FROM_INDICES),
        Bar("architectures a second, one core, from Architecture objects", objects),
        Bar("architectures a second, one core, from option indices", indices),
        Bar("peer: a dictionary a slot, summed for each architecture", baseline),
        Bar("peer: lower each architecture, sum its rows", rate(by_lowering, len(few))),
        Bar("seconds to fill the arrays from the table, once", built),
        Bar("seconds for the exact smallest and largest cost of the space", bounded),
    ]


if __name__ == "__main__":
    options = arguments(__doc__.partition("\n")[0])
    sys.exit(report("costing", bars(), options.json, versions("numpy")))
