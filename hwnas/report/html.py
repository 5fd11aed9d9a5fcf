"""The few pieces of HTML that both halves of the page are made of; all text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Cell:
    """One table cell: its HTML, already escaped, and CSS classes (`n` numeric, `words` may wrap)."""

    html: str
    classes: str = ""


def text(value: str, classes: str = "") -> Cell:
    """A cell of plain text."""
    return Cell(escape(value), classes)


def number(value: str, below: str = "") -> Cell:
    """A figure, with a smaller one under it."""
    return Cell(escape(value) + (f'<span class="below">{escape(below)}</span>' if below else ""), "n")


def section(title: str, caption: str, body: str) -> str:
    """A panel of the page."""
    words = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    return f"<section><h2>{escape(title)}</h2>{words}{body}</section>"


def table(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[Cell]]]) -> str:
    """A table; rows are (CSS classes, cells). On a narrow screen every row becomes a card that names its columns."""
    lines, numeric = [], [False] * len(heads)
    for classes, cells in rows:
        numeric = ["n" in cell.classes.split() for cell in cells]
        shown = "".join(
            f'<td class="{cell.classes}" data-label="{escape(head, quote=True)}">{_wrapped(cell.html)}</td>'
            for head, cell in zip(heads, cells, strict=True)
        )
        lines.append(f'<tr class="{classes}">{shown}</tr>')
    head = "".join(f'<th class="{"n" if n else ""}">{escape(h)}</th>' for h, n in zip(heads, numeric, strict=True))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _wrapped(html: str) -> str:
    """One element beside the column's name, so that a card's line has two ends; nothing where the cell is empty."""
    return f"<div>{html}</div>" if html else ""
