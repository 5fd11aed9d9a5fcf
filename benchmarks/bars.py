"""What every benchmark prints: its bars, each a value beside the limit it is held to."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and its limit; `limit` None: shown, not judged."""

    bar: str
    value: float
    limit: float | None = None
    side: Literal["at least", "at most"] = "at least"

    @property
    def ok(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.side == "at least" else self.value <= self.limit


def arguments(description: str) -> argparse.Namespace:
    """The command line of a benchmark without options of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print the bars as JSON")
    return parser.parse_args()


def machine() -> str:
    """This machine, as the device probe names it."""
    from hwnas.probe import probe_local

    device = probe_local()
    cores = device.cpu.cores.value if device.cpu.cores else "?"
    return f"{device.cpu.model.value}, {cores} cores, {device.target}, {platform.system()} {platform.machine()}"


def report(name: str, bars: list[Bar], as_json: bool) -> int:
    """Print the bars; 0 where every one holds, else 1."""
    if as_json:
        shown = [{k: v for k, v in asdict(bar).items() if k != "side"} | {"ok": bar.ok} for bar in bars]
        print(json.dumps({"name": name, "machine": machine(), "bars": shown}, allow_nan=False))
    else:
        print(f"{name} on {machine()}")
        for bar in bars:
            held = "" if bar.limit is None else f"   {bar.side} {bar.limit:,g}: {'ok' if bar.ok else 'MISSED'}"
            print(f"  {bar.bar:<72} {bar.value:>14,.6g}{held}")
    sys.stdout.flush()
    return 0 if all(bar.ok for bar in bars) else 1
