"""Compare the native compiler with ONNX Runtime on random graphs of every supported operator.

    python benchmarks/reader_differential.py --count 1000 --seed 0
    python benchmarks/reader_differential.py --count 1000 --seed 0 --tensors

Prints by operator how many graphs were built, compiled, refused or wrong. Exit 1 where one is wrong, or where fewer
than 95 % of the graphs made of supported operators and forms (docs/operators.md) compile.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

#: of the graphs that the docs call supported, this share must compile
LEAST_COMPILED = 0.95
COLUMNS = ("built", "equal", "within", "refused", "invalid", "wrong")


def main() -> int:
    """The table, and the exit status."""
    from tests.native.differential import Outcome, outcomes
    from tests.native.random_graphs import random_graph
    from tests.native.random_tensors import random_tensors

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="number of graphs")
    parser.add_argument("--seed", type=int, default=0, help="the first graph's seed; the others count up")
    parser.add_argument("--tensors", action="store_true", help="tensors of any rank in place of images and vectors")
    options = parser.parse_args()
    make = random_tensors if options.tensors else random_graph
    rows: dict[tuple[bool, str], Counter[str]] = {}
    notable: list[Outcome] = []
    for outcome in outcomes(range(options.seed, options.seed + options.count), make=make):
        supported = outcome.sample.supported
        for operator in {*outcome.sample.operators, "all graphs"}:
            rows.setdefault((supported, operator), Counter()).update(("built", outcome.verdict))
        if outcome.verdict == "wrong" or (outcome.verdict == "refused" and supported):
            notable.append(outcome)
    for supported in (True, False):
        print(f"\ngraphs {'of supported forms only' if supported else 'with a form that is not supported'}")
        print(f"{'operator':20}" + "".join(f"{column:>9}" for column in COLUMNS))
        for (kind, operator), row in sorted(rows.items()):
            if kind == supported:
                print(f"{operator:20}" + "".join(f"{row[column]:9}" for column in COLUMNS))
    for outcome in notable:
        print(f"\nseed {outcome.seed}: {outcome.verdict}: {outcome.reason}")
    total = rows.get((True, "all graphs"), Counter())
    compiled = (total["equal"] + total["within"]) / max(1, total["built"] - total["invalid"])
    wrong = sum(row["wrong"] for (_, operator), row in rows.items() if operator == "all graphs")
    print(f"\n{wrong} wrong; {compiled:.1%} of the supported graphs compile (at least {LEAST_COMPILED:.0%})")
    print("equal: in every bit to ONNX Runtime, as the model says it or fused; within: in the graph's own bound")
    return int(wrong > 0 or compiled < LEAST_COMPILED)


if __name__ == "__main__":
    sys.exit(main())
