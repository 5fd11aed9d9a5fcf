"""What every benchmark prints: its bars, each a value beside the limit it is held to, and the peers' versions."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and its limit. `limit` None: shown, not judged. `value` None: not run, and `note` says why."""

    bar: str
    value: float | None
    limit: float | None = None
    side: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether the limit is kept; None where there is nothing to judge."""
        if self.limit is None or self.value is None:
            return None
        return self.value >= self.limit if self.side == "at least" else self.value <= self.limit

    def record(self) -> dict[str, Any]:
        """The bar as JSON."""
        return {
            "bar": self.bar, "value": self.value, "limit": self.limit, "side": self.side, "ok": self.ok,
            "note": self.note,
        }  # fmt: skip


def not_run(bar: str, why: str, limit: float | None = None, side: Literal["at least", "at most"] = "at least") -> Bar:
    """A bar that this machine or this environment could not try: a row all the same, so that nobody misses it."""
    return Bar(bar, None, limit, side, f"not run: {why}")


def verdict(bar: Mapping[str, Any]) -> str:
    """What to print beside a bar's record: a bar that was not judged is never a yes."""
    if bar["value"] is None:
        return str(bar["note"])
    held = {True: "yes", False: "NO", None: "no bar"}[bar["ok"]]
    return f"{held} ({bar['note']})" if bar["note"] else held


def arguments(description: str) -> argparse.Namespace:
    """The command line of a benchmark without options of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print the bars as JSON")
    return parser.parse_args()


def machine() -> str:
    """This machine, as the device probe names it, and how busy it is."""
    from hwnas.probe import probe_local

    device = probe_local()
    cores = device.cpu.cores.value if device.cpu.cores else "?"
    where = f"{device.target}, {platform.system()} {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    return f"{device.cpu.model.value}, {cores} cores, {where}"


def versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages by name."""
    return {name: metadata.version(name) for name in packages}


def weight_bits() -> int:
    """7 on x86 without VNNI, else 8. There ONNX Runtime adds two products of 8-bit codes and weights in 16 bits, which
    saturates: its answers differ from the exact ones of our kernels, and a benchmark compares equal answers only."""
    from hwnas.probe import probe_local

    isa = probe_local().cpu.isa.value
    return 7 if platform.machine() in ("x86_64", "AMD64") and not any("vnni" in flag for flag in isa) else 8


def integer_bar(bar: str, ratio: float, limit: float | None) -> Bar:
    """Our time over ONNX Runtime's. Its limit was set where both compute the same sums: without VNNI the ratio is
    shown, not judged, for ONNX Runtime then takes the saturating instruction that exact kernels cannot."""
    if limit is None or weight_bits() == 8 or "fp32" in bar:
        return Bar(bar, ratio, limit, "at most")
    return Bar(bar, ratio, None, "at most", f"the bar of {limit:g} does not apply: no VNNI here, see bars.py")


def report(name: str, bars: Sequence[Bar], as_json: bool, peers: Mapping[str, str] | None = None) -> int:
    """Print the bars and the peers with their versions; 1 where a bar is missed, else 0."""
    records = [bar.record() for bar in bars]
    if as_json:
        shown = {"name": name, "machine": machine(), "peers": dict(peers or {}), "bars": records}
        print(json.dumps(shown, allow_nan=False))
    else:
        print(f"{name} on {machine()}")
        for peer, version in (peers or {}).items():
            print(f"  beside {peer} {version}")
        for record in records:
            value = "-" if record["value"] is None else f"{record['value']:,.6g}"
            limit = "" if record["limit"] is None else f"{record['side']} {record['limit']:,.4g}"
            print(f"  {record['bar']:<72} {value:>14}   {limit:<16} {verdict(record)}")
        print(f"  {counts(records)}")
    sys.stdout.flush()
    return 1 if any(record["ok"] is False for record in records) else 0


def counts(records: Sequence[Mapping[str, Any]]) -> str:
    """How many bars there are of each kind."""
    kept = sum(record["ok"] is True for record in records)
    missed = sum(record["ok"] is False for record in records)
    absent = sum(record["value"] is None for record in records)
    return f"{kept} bars kept, {missed} missed, {absent} not run, {len(records) - kept - missed - absent} without a bar"
