"""What the comparisons of docs/results/inhabitants.md share: intervals over seeds, and a section of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwnas.paths import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results" / "inhabitants.md"
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's quantile of a mean of so many seeds, 95 %, two sides


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and the half width of its 95 % interval (Student); NaN for the width of a single value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), T_95.get(len(values), 1.96) * spread / len(values) ** 0.5


def shown(values: Sequence[float]) -> str:
    """`54.3 ± 2.1`, or the value alone."""
    mean, half = interval(values)
    return f"{mean:.2f} ± {half:.2f}" if len(values) > 1 else f"{mean:.2f} (one seed)"


def told(gains: Sequence[float]) -> str:
    """What paired differences by seed say, in words: all that is claimed is what the interval leaves."""
    gain, half = interval(gains)
    if len(gains) < 2:
        return "says nothing of one seed beside"
    return "beats" if gain - half > 0 else "is beaten by" if gain + half < 0 else "is not told apart from"


def write_section(heading: str, section: str) -> None:
    """Puts the section in place of an older one of its heading, or at the page's end."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    older = re.compile(re.escape(heading) + r"\n.*?(?=\n## |\Z)", re.DOTALL)
    if older.search(text):
        write_text(PAGE, older.sub(lambda _: section.rstrip("\n"), text, count=1).rstrip("\n") + "\n")
    else:
        start = text or "# Inhabitants\n\nSearches beside natural baselines, each by its own benchmark.\n"
        write_text(PAGE, start + "\n" + section)
