"""Hold the native compiler to ONNX's own node tests (onnx.backend.test).

    python benchmarks/onnx_node_tests.py
    python benchmarks/onnx_node_tests.py --only resize --reasons

Every case is tried as it is, with all inputs but the first constant, and so with a Reshape from a batch of one before
it (tests/native/node_cases.py). Prints how many were refused and how many gave the case's outputs within its tolerance.
Exit 1 where one is wrong.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """The table, and the exit status."""
    from tests.native.node_cases import WAYS, Attempt, attempts, cases

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--reasons", action="store_true", help="also why cases were refused")
    options = parser.parse_args()
    names = [name for name in cases() if options.only in name]
    found: dict[str, list[Attempt]] = {name: [] for name in names}
    for attempt in attempts(names):
        found[attempt.case].append(attempt)
    tried = [attempt for each in found.values() for attempt in each]
    print(f"{'':14}{'tried':>8}{'refused':>9}{'compiled':>10}{'equal':>7}{'wrong':>7}")
    for way in WAYS:
        verdicts = Counter(attempt.verdict for attempt in tried if attempt.way == way)
        compiled = verdicts["equal"] + verdicts["wrong"]
        counts = (verdicts.total(), verdicts["refused"], compiled, verdicts["equal"], verdicts["wrong"])
        print(f"{way:14}" + "".join(f"{n:{w}}" for n, w in zip(counts, (8, 9, 10, 7, 7), strict=True)))
    equal = sum(any(attempt.verdict == "equal" for attempt in each) for each in found.values())
    tensors = sum(bool(each) for each in found.values())
    wrong = [attempt for attempt in tried if attempt.verdict == "wrong"]
    print(f"{len(names)} cases, {tensors} of tensors alone: {equal} compile and are equal, {len(wrong)} wrong")
    for attempt in wrong:
        print(f"{attempt.case}, {attempt.way}: {attempt.reason}")
    if options.reasons:
        refused = (each[-1] for each in found.values() if each and all(a.verdict == "refused" for a in each))
        reasons = Counter(re.sub(r"'[^']*'|\[[^]]*\]|-?\d[\d.]*", "..", a.reason.split("; ")[0]) for a in refused)
        print(*(f"{count:5} {reason[:140]}" for reason, count in reasons.most_common()), sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
