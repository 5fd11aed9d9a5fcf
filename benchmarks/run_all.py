"""Runs every benchmark of this folder and writes docs/results/benchmarks.md.

    python benchmarks/run_all.py                 all of them
    python benchmarks/run_all.py costing         only these
    python benchmarks/run_all.py --json          the results as one JSON list as well, on standard output

A benchmark is a file that can be run; with --json it prints
what bars.py's `report` writes. A bar that was not tried is a row "not run"; one without a limit is "no bar", not "yes".
Exit 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bars import counts, verdict  # type: ignore[import-not-found]  # the file beside this one

from hwnas.errors import unknown
from hwnas.paths import write_text

FOLDER = Path(__file__).resolve().parent
REPORT = FOLDER.parent / "docs" / "results" / "benchmarks.md"
TIME_LIMIT_S = 1800  # of one benchmark

# What is known of machines other than the one that wrote the page; taken off when a kernel changes it.
KNOWN = {
    "binary_conv": (
        "On a Zen 4 machine the residual bars at 14x14x256 and 7x7x512 were missed: 0.88 and 0.90 of "
        "OpenVINO's time against 0.85, the floor of a step of three instructions there. They stand missed until the "
        "kernels change."
    )
}


@dataclass(frozen=True)
class Outcome:
    """One benchmark: what it printed, or why it printed nothing."""

    name: str
    seconds: float
    machine: str = ""
    bars: list[dict[str, Any]] = field(default_factory=list)
    peers: dict[str, str] = field(default_factory=dict)
    failure: str = ""

    @property
    def ok(self) -> bool:
        return not self.failure and all(bar["ok"] is not False for bar in self.bars)


BY_HAND = {"run_all", "memory"}  # this one, and one that takes 15 GB of disk


def benchmarks() -> list[str]:
    """Every file of this folder that can be run, but those run by hand."""
    files = sorted(FOLDER.glob("*.py"))
    return [file.stem for file in files if file.stem not in BY_HAND and '__name__ == "__main__"' in file.read_text()]


def run(name: str) -> Outcome:
    """One benchmark in a process of its own; a failure is an outcome."""
    start = time.monotonic()
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False, cwd=FOLDER.parent
        )
    except subprocess.TimeoutExpired:
        return Outcome(name, TIME_LIMIT_S, failure=f"took more than {TIME_LIMIT_S} s")
    seconds = time.monotonic() - start
    try:
        printed = json.loads(done.stdout)
        return Outcome(printed["name"], seconds, printed["machine"], printed["bars"], printed["peers"])
    except (json.JSONDecodeError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["printed no JSON"])[-1]
        return Outcome(name, seconds, failure=f"exit {done.returncode}: {last}")


def markdown(outcomes: list[Outcome]) -> str:
    """The results as one page."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    ]
    for outcome in outcomes:
        lines += ["", f"## {outcome.name}", ""]
        beside = ", ".join(f"{name} {version}" for name, version in outcome.peers.items())
        lines.append(
            f"{outcome.machine}. " * bool(outcome.machine)
            + f"Beside {beside}. " * bool(beside)
            + f"Took {outcome.seconds:.0f} s."
        )
        lines += ["", *([KNOWN[outcome.name], ""] if outcome.name in KNOWN else [])]
        if outcome.failure:
            lines.append(f"**Did not finish**: {outcome.failure}")
            continue
        lines += [f"{counts(outcome.bars)}.", "", "| bar | value | limit | kept |", "|---|---:|---:|---|"]
        lines += [f"| {bar['bar']} | {number(bar['value'])} | {limit(bar)} | {verdict(bar)} |" for bar in outcome.bars]
    return "\n".join(lines) + "\n"


def number(value: Any) -> str:
    """Four significant figures, without an exponent for what a person reads as a count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def limit(bar: dict[str, Any]) -> str:
    """`at most 0.85`, or nothing."""
    return "" if bar["limit"] is None else f"{bar['side']} {number(bar['limit'])}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run benchmarks and write docs/results/benchmarks.md.")
    parser.add_argument("names", nargs="*", help="only these; default: all")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON list as well")
    arguments = parser.parse_args()
    known = benchmarks()
    for name in arguments.names:
        if name not in known:
            print(f"error: {unknown('benchmark', name, known)}", file=sys.stderr)
            return 2
    outcomes = []
    for name in arguments.names or known:
        print(f"{name} ...", file=sys.stderr, flush=True)
        outcomes.append(run(name))
        print(f"{name}: {'ok' if outcomes[-1].ok else 'NOT ok'} in {outcomes[-1].seconds:.0f} s", file=sys.stderr)
    if arguments.json:
        print(json.dumps([vars(outcome) | {"ok": outcome.ok} for outcome in outcomes], indent=2))
    if not arguments.names:
        write_text(REPORT, markdown(outcomes))
        print(f"wrote {REPORT.relative_to(FOLDER.parent)}", file=sys.stderr)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
