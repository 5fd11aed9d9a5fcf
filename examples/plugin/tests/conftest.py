"""Lets hwnas find what this package adds: what `plugins: [hwnas_example]` does in a run file."""

from __future__ import annotations

from hwnas import find

find.activate("hwnas_example")
