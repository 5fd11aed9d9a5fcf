"""Board: `subject` is its class; it times groups of programs, of which one may fail, for one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from hwnas import find
from hwnas.boards import Board, Conditions, Timed
from hwnas.device import load_device
from hwnas.engines import Artefact
from hwnas.measure.harness import Plan
from hwnas.network import Operator
from hwnas.profile import DeviceProfile
from hwnas.testing import hold

QUICK = Plan(warmup_us=100.0, round_us=2_000.0, most_rounds=2)
CONV = Operator.of("conv_bn_act", (16, 8, 8), (16, 8, 8), kernel=3, stride=1, activation="relu")
POOL = Operator.of("pool_dense", (24, 8, 8), (10,), classes=10)
TAKES = """
import importlib, sys
from pathlib import Path
sys.path[:] = {path!r}
from hwnas.profile import DeviceProfile
board = getattr(importlib.import_module({module!r}), {name!r})
with board(DeviceProfile.model_validate_json({device!r}), Path({folder!r})).lease(0.2):
    print("mine")
"""


def says_what_and_how_it_is(
    subject: type[Board], device: DeviceProfile | None = None, engine: str = "onnxruntime"
) -> None:
    with _made(subject, device) as (board, _):
        hold(isinstance(board.probe(), DeviceProfile), "probe() gives a profile")
        hold(board.unreachable() is None, f"it can be reached while it is tested: {board.unreachable()}")
        conditions = board.conditions()
        hold(isinstance(conditions, Conditions), f"conditions() gives Conditions, got {conditions!r}")
        known = [getattr(conditions, one.name) for one in fields(conditions) if one.name != "governor"]
        hold(all(value is None or value >= 0 for value in known), f"conditions of at least 0, got {conditions}")
        told, built = board.engine_version(engine), board.engine(engine, 1, None).version
        hold(told == built, f"engine_version is what a row measured now says, {built!r}, got {told!r}")


def gives_an_outcome_a_program_of_which_one_may_fail(
    subject: type[Board], device: DeviceProfile | None = None, engine: str = "onnxruntime"
) -> None:
    """`engine` builds fp32 blocks for the board. Its canary, where it has one, is a program like any other."""
    with _made(subject, device) as (board, folder):
        good, other = _programs(board, engine, folder)
        spoilt = folder / "spoilt"
        spoilt.write_bytes(b"no model")
        found = board.time([good, Artefact(engine, spoilt, {"threads": 1}), other], QUICK)
        hold(len(found) == 3, f"an outcome a program, got {len(found)} of 3")
        first, failed, last = found
        hold(isinstance(first, Timed) and isinstance(last, Timed), f"the others go on, got {first!r} and {last!r}")
        hold(isinstance(failed, Exception), f"what cannot run gives its exception, got {failed!r}")
        if board.canary is not None:
            (canary,) = board.time([board.canary], QUICK)
            hold(isinstance(canary, Timed), f"the canary is timed, got {canary!r}")


def tells_energy_where_it_is_asked_for_and_counted(
    subject: type[Board], device: DeviceProfile | None = None, engine: str = "onnxruntime"
) -> None:
    with _made(subject, device) as (board, folder):
        good, other = _programs(board, engine, folder)
        (alone,) = board.time([good], QUICK)
        hold(isinstance(alone, Timed) and alone.energy is None, f"no energy where none is asked for, got {alone!r}")
        found = board.time([good], QUICK, ("latency", "energy"), [other])
        hold(len(found) == 2, f"the programs, then those beside them, got {len(found)} of 2")
        first = found[0]
        assert isinstance(first, Timed)
        counted = first.energy is not None
        hold(counted == board.counts_energy(), f"energy where counts_energy() says so, got {first.energy}")
        hold(first.energy is None or first.energy[1], "a figure of energy has a source")


def is_leased_to_one_process_at_a_time(subject: type[Board], device: DeviceProfile | None = None) -> None:
    """Which may take it again. The class must be importable by its name, as that of a file is."""
    with _made(subject, device) as (board, folder):
        told = (device or load_device("local")).model_dump_json(exclude_none=True)
        place = {"module": subject.__module__, "name": subject.__qualname__, "folder": str(folder)}
        script = TAKES.format(path=sys.path, device=told, **place)
        with board.lease(), board.lease(0.0):
            refused = _run(script)
        hold(refused.returncode != 0, "another process cannot have it meanwhile")
        hold("HwnasError" in refused.stderr, f"which HwnasError tells it, got {refused.stderr[-300:]}")
        free = _run(script)
        hold(free.stdout == "mine\n", f"another process can have it afterwards, got {free.stderr[-300:]}")


def _run(script: str) -> subprocess.CompletedProcess[str]:
    """In a process that finds the same packages: the profile may name what they add."""
    found = {**os.environ, find.ENVIRONMENT: ",".join(find.packages()[1:])}
    return subprocess.run([sys.executable, "-c", script], env=found, capture_output=True, text=True, check=False)


@contextmanager
def _made(subject: type[Board], device: DeviceProfile | None) -> Iterator[tuple[Board, Path]]:
    """The board of a profile (by default this machine's) and an empty folder, in which its locks are as well."""
    with tempfile.TemporaryDirectory() as folder:
        yield subject(device or load_device("local"), Path(folder)), Path(folder)


def _programs(board: Board, engine: str, folder: Path) -> list[Artefact]:
    built = board.engine(engine, 1, None)
    for part in "ab":
        (folder / part).mkdir()
    return [built.block(CONV, folder / "a"), built.block(POOL, folder / "b")]
