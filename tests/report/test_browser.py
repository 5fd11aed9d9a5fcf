"""The page as a browser draws it: headless Chromium, narrow and wide, light and dark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from hwnas.report.page import page
from hwnas.report.results import Results

from .samples import awkward, finished

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
    "--enable-logging=stderr",
)  # fmt: skip

# WCAG 2.1, 1.4.3: 4.5 for text, 3 for large text (24 px, or 18.66 px and bold).
MEASURE = """
<script>
function parts(colour) { return (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number); }
function over(top, below) {
  const a = top.length > 3 ? top[3] : 1;
  return [0, 1, 2].map(i => top[i] * a + below[i] * (1 - a));
}
function background(element) {
  const stack = [];
  for (let e = element; e; e = e.parentElement) stack.push(parts(getComputedStyle(e).backgroundColor));
  return stack.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
}
function luminance(rgb) {
  const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(a, b) {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}
function clipper(element, box) {
  for (let e = element; e && e !== document.documentElement; e = e.parentElement) {
    const style = getComputedStyle(e), edge = e.getBoundingClientRect();
    const beyond = box.right > edge.right + 1 || box.left < edge.left - 1;
    if (style.overflowX !== 'visible' && !(e instanceof SVGElement) && beyond) return true;
  }
  return box.right > innerWidth + 1 || box.left < -1;
}
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
const found = {width: innerWidth, dark, texts: 0, cut: [], faint: []};
document.querySelectorAll('details').forEach(d => d.open = true);
found.page = document.documentElement.scrollWidth;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, element = node.parentElement, text = node.textContent.trim();
  if (!text || ['SCRIPT', 'STYLE', 'title'].includes(element.tagName)) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  const boxes = [...range.getClientRects()];
  if (!boxes.length) continue;
  found.texts += 1;
  const style = getComputedStyle(element), behind = background(element);
  const colour = parts(element instanceof SVGElement ? style.fill : style.color);
  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
  const ratio = contrast(over(colour, behind), behind);
  if (boxes.some(box => clipper(element, box))) found.cut.push(text.slice(0, 60));
  if (ratio < (large ? 3 : 4.5)) found.faint.push(text.slice(0, 40) + ' ' + ratio.toFixed(2));
}
parent.document.getElementById('measured').textContent = JSON.stringify(found);
</script>
"""


def drawn(text: str, folder: Path, width: int, dark: bool) -> tuple[dict[str, Any], list[str]]:
    """What the browser measured on the page, and everything it wrote to its console."""
    assert BROWSER is not None
    file = folder / "page.html"
    # A window is at least 500 pixels wide; a frame inside it may be as narrow as a telephone.
    inside = escape(text.replace("</body>", MEASURE + "</body>"), quote=True)
    frame = f'<iframe width="{width}" height="4000" style="border:0" srcdoc="{inside}"></iframe>'
    file.write_text(f'<!doctype html><meta charset="utf-8"><pre id="measured"></pre>{frame}', encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    places = (f"--user-data-dir={folder / 'profile'}", "--window-size=1500,4100", "--dump-dom", file.as_uri())
    done = subprocess.run([BROWSER, *FLAGS, scheme, *places], capture_output=True, text=True, timeout=120, check=True)
    measured = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert measured is not None, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    result: dict[str, Any] = json.loads(unescape(measured.group(1)))
    return result, console


@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("sample", [finished, awkward], ids=["finished", "awkward"])
def test_no_text_is_cut_or_faint_and_the_console_stays_empty(
    sample: Callable[[], Results], width: int, dark: bool, tmp_path: Path
) -> None:
    measured, console = drawn(page(sample()), tmp_path, width, dark)
    assert (measured["width"], measured["dark"]) == (width, dark), "the browser drew another page than was asked for"
    assert console == []
    assert measured["texts"] > 60
    assert measured["page"] <= width, "the page scrolls sideways"
    assert measured["cut"] == []
    assert measured["faint"] == []


@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_the_browser_notices_text_that_is_cut_or_faint(tmp_path: Path) -> None:
    spoilt = page(finished()).replace(
        "<main>", '<main><div style="width:60px;overflow:hidden;white-space:nowrap;color:#999">cut and faint text</div>'
        "<script>console.error('noticed')</script>",
    )  # fmt: skip
    measured, console = drawn(spoilt, tmp_path, 1400, False)
    assert measured["cut"] == ["cut and faint text"] and measured["faint"][0].startswith("cut and faint text")
    assert any("noticed" in line for line in console)
