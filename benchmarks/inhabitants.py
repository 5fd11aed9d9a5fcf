"""What the comparisons of docs/results/inhabitants.md share: kept figures, intervals over seeds, a section each."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.paths import read_json, write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results" / "inhabitants.md"
#: Student's quantile of a mean of so many seeds, 95 %, two sides; of more seeds the last, which is a little wide
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def arguments(doc: str, seeds: int) -> argparse.ArgumentParser:
    """A parser of what every comparison takes, described by the first line of its file."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--page", action="store_true")
    return parser


def kept_figures(file: Path, mark: str, **start: Any) -> dict[str, Any]:
    """The figures of `file` where they are of this mark, else new ones with `start`; a seed's are under its number."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = read_json(file) if file.exists() else {}
    return kept if kept.get("mark") == mark else {"mark": mark, **start}


def by_seed(figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The figures of every seed, in order."""
    return [figures[key] for key in sorted((key for key in figures if key.isdigit()), key=int)]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and the half width of its 95 % interval (Student); NaN for the width of a single value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), T_95.get(len(values), T_95[10]) * spread / len(values) ** 0.5


def shown(values: Sequence[float]) -> str:
    """`54.3 ± 2.1`, or the value alone."""
    mean, half = interval(values)
    return f"{mean:.2f} ± {half:.2f}" if len(values) > 1 else f"{mean:.2f} (one seed)"


def verdict(first: Sequence[float], second: Sequence[float]) -> tuple[str, str]:
    """("beats", "+1.20 ± 0.50"): how the first does beside the second, paired by seed, and its gain."""
    gain, half = interval([a - b for a, b in zip(first, second, strict=True)])
    told = "beats" if gain - half > 0 else "is beaten by" if gain + half < 0 else "is not told apart from"
    return told, f"{gain:+.2f} ± {half:.2f}"


def write_section(heading: str, section: str) -> None:
    """Puts the section in place of an older one of its heading, or at the page's end."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    older = re.compile(re.escape(heading) + r"\n.*?(?=\n## |\Z)", re.DOTALL)
    if older.search(text):
        write_text(PAGE, older.sub(lambda _: section.rstrip("\n") + "\n", text, count=1).rstrip("\n") + "\n")
    else:
        start = text or "# Inhabitants\n\nSearches beside natural baselines, each by its own benchmark.\n"
        write_text(PAGE, start + "\n" + section)
