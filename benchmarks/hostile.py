"""Strangers' files: thousands of spoilt ones of every kind; each must be read or refused in one line, nothing else.

    python benchmarks/hostile.py                          2,000 of each kind, a table
    python benchmarks/hostile.py --count 40 --seed 7      fewer, and others
    python benchmarks/hostile.py --only onnx:137          one of them, with what it said
    python benchmarks/hostile.py --json                   the bars as JSON

Good files are made by a tiny run, then spoilt: bytes, values, types, shapes, edges, names that lead elsewhere. A
file is decided by (seed, kind, number). Run files are checked, not run. Two processes read the files through the
command line's own frame; a third watches them: no exception of another kind than ours, no signal, no answer later than
10 seconds. The kernel reports (inotify) every opening of a file in the canary folder, to which links, `..` and
external data lead.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from bars import Bar, report  # type: ignore[import-not-found]  # the file beside this one
from hostile_bases import KINDS, good_files, make  # type: ignore[import-not-found]

LIMIT_S = 10.0
START_LIMIT_S = 120.0  # loading torch, TVM and ONNX beside seven other jobs
MEMORY_LIMIT = 24 << 30  # of address space; what needs more is told as out of memory
IN_OPEN = 0x20


class Canary:
    """A folder whose files nobody may open; `opened` says which ones were since it was asked last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("secret.bin", "evil.yaml", "evil.py", "libevil.so", "evil.json"):
            (folder / name).write_bytes(b"name: evil\n" * 40)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._libc.inotify_add_watch(self._handle, os.fsencode(folder), IN_OPEN) < 0:
            raise SystemExit(f"cannot watch {folder}: {os.strerror(ctypes.get_errno())}")

    def opened(self) -> list[str]:
        """Names of the files that were opened."""
        try:
            data = os.read(self._handle, 1 << 16)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
            found += [name] if name and mask & IN_OPEN else []
            at += 16 + length
        return found


class Reader:
    """A process that reads spoilt files, one at a time."""

    def __init__(self, bases: Path, folder: Path, canary: Path, seed: int) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--reader", str(bases), str(folder), str(canary)]
        self._process = subprocess.Popen(
            [*command, "--seed", str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder.parent,
        )  # fmt: skip
        self.asked_at, self.busy_with = time.monotonic(), ("start", 0)

    @property
    def output(self) -> Any:
        return self._process.stdout

    def ask(self, kind: str, number: int) -> None:
        assert self._process.stdin is not None
        self.asked_at, self.busy_with = time.monotonic(), (kind, number)
        print(json.dumps([kind, number]), file=self._process.stdin, flush=True)

    def answer(self) -> str:
        """The verdict, or how the process ended instead of giving one."""
        line = self.output.readline()
        if line:
            return str(json.loads(line))
        code = self._process.wait()
        return f"signal: {-code}" if code < 0 else f"raw: the process ended with {code}"

    def late(self, limit_s: float) -> bool:
        return time.monotonic() - self.asked_at > (START_LIMIT_S if self.busy_with[0] == "start" else limit_s)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass
class Tally:
    """What came of the files of every kind."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    good: Counter[bool] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    def add(self, kind: str, number: int, verdict: str, opened: list[str]) -> None:
        word = verdict.partition(":")[0]
        if number < 0:
            self.good[word == "read"] += 1
            self.found += [] if word == "read" else [f"the good file {kind}:{number} is not read: {verdict}"]
            return
        counter = self.counts.setdefault(kind, Counter())
        counter[word] += 1
        counter["opened"] += bool(opened)
        if word not in ("read", "refused"):
            self.found.append(f"{kind}:{number} {verdict}")
        if opened:
            self.found.append(f"{kind}:{number} (or the one beside it) opened {', '.join(sorted(set(opened)))}")


def read_all(work: list[tuple[str, int]], seed: int, scratch: Path, readers: int, limit_s: float) -> Tally:
    """Every file tried by one of `readers` processes."""
    canary, tally, waiting = Canary(scratch / "canary"), Tally(), list(reversed(work))
    canary.opened()
    running: dict[int, Reader] = {}

    def started(slot: int) -> Reader:
        running[slot] = Reader(scratch / "bases", scratch / f"case{slot}", canary.folder, seed)
        return running[slot]

    for slot in range(readers):
        started(slot)
    while running:
        ready = select.select([r.output for r in running.values()], [], [], 0.5)[0]
        for slot, reader in list(running.items()):
            kind, number = reader.busy_with
            if reader.output in ready:
                verdict = reader.answer()
            elif reader.late(limit_s):
                verdict = "hang: no answer"
            else:
                continue
            if kind != "start":
                tally.add(kind, number, verdict, canary.opened())
            elif verdict != "ready":
                raise SystemExit(f"a reader did not start: {verdict}")
            if verdict.partition(":")[0] in ("hang", "signal") or verdict.startswith("raw: the process"):
                reader.end()
                reader = started(slot)
            elif waiting:
                reader.ask(*waiting.pop())
            if not waiting and reader.busy_with in ((kind, number), ("start", 0)):
                reader.end()
                del running[slot]
    return tally


def serve(bases: Path, folder: Path, canary: Path, seed: int) -> int:
    """The reading process: a kind and a number in, a verdict out."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
    from hostile_attempts import attempt, empty, spoil, verdict, warm_up  # type: ignore[import-not-found]

    warm_up()
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        kind, number = json.loads(line)
        empty(folder)
        path = spoil(kind, number, seed, bases, folder, canary)
        print(json.dumps(verdict(*attempt(kind, path, number < 0))), file=answers, flush=True)
    return 0


def bars(tally: Tally) -> list[Bar]:
    """Nothing but `read` and `refused`, kind by kind; how many of each is shown beside."""
    found = [Bar("good files that are not read", tally.good[False], 0, "at most")] if tally.good else []
    for kind, counter in tally.counts.items():
        total = counter["read"] + counter["refused"] + counter["raw"] + counter["signal"] + counter["hang"]
        found.append(Bar(f"{kind}: files tried", total))
        found.append(Bar(f"{kind}: refused in one line, exit 2", counter["refused"]))
        for name, told in (("raw", "raw exceptions"), ("signal", "signals"), ("hang", "answers that came too late"),
                           ("opened", "openings of the canary")):  # fmt: skip
            found.append(Bar(f"{kind}: {told}", counter[name], 0, "at most"))
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Try spoilt files of every kind.")
    parser.add_argument("--count", type=int, default=2000, help="files a kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="only these, separated by commas")
    parser.add_argument("--only", help="one file, such as onnx:137")
    parser.add_argument("--readers", type=int, default=2, help="processes that read")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds that an answer may take")
    parser.add_argument("--keep", type=Path, help="a new folder for the good files and the last case of each reader")
    parser.add_argument("--json", action="store_true", help="print the bars as JSON")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--reader", nargs=3, type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    chosen = options()
    if chosen.reader:
        bases, folder, canary = chosen.reader
        return serve(bases, folder, canary, chosen.seed)
    if chosen.make:
        make(chosen.make)
        return 0
    if chosen.only:
        kind, _, number = chosen.only.partition(":")
        work, readers = [(kind, int(number))], 1
    else:
        work = [(kind, number) for number in range(chosen.count) for kind in chosen.kinds.split(",")]
        readers = chosen.readers
    with tempfile.TemporaryDirectory(prefix="hwnas-hostile-") as temporary:
        scratch = Path(temporary) if chosen.keep is None else chosen.keep
        scratch.mkdir(exist_ok=True)
        made = [sys.executable, str(Path(__file__).resolve()), "--make", str(scratch / "bases")]
        if not (scratch / "bases").exists():
            subprocess.run(made, check=True, cwd=scratch)
        good = [(kind, -1 - i) for kind in KINDS for i in range(len(good_files(scratch / "bases", kind)))]
        tally = read_all(work if chosen.only else good + work, chosen.seed, scratch, readers, chosen.limit)
    for line in tally.found:
        print(line, file=sys.stderr)
    return int(report("hostile", bars(tally), chosen.json))


if __name__ == "__main__":
    raise SystemExit(main())
