"""`python -m tests.equality [BASE]`: what ships differently than at BASE (default: HEAD's parent)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.equality.trees import base_commit, compare


def main(arguments: list[str]) -> int:
    """Prints every difference as `place: what`."""
    base = base_commit(arguments[0] if arguments else None)
    if base is None:
        print("error: no such commit here, or no git history; hint: python -m tests.equality COMMIT", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="hwnas-equality-") as folder:
        found = compare(base, Path(folder))
    for place, what in found:
        print(f"{place}: {what}")
    print(f"{len(found)} differences from {base[:12]}" if found else f"what ships equals {base[:12]}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
