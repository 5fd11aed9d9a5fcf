"""Boards, one a file (`Board`): where artefacts run and are timed. A device profile names its board (`connection:`).

connection: local      this machine
connection: none       another machine: nothing is timed from here
connection: mine       mypackage/boards/mine.py
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hwnas import find
from hwnas.errors import HwnasError

if TYPE_CHECKING:
    import numpy as np

    from hwnas.engines import Artefact, Engine
    from hwnas.measure.harness import Plan, Timing
    from hwnas.profile import DeviceProfile

QUANTITIES = ("latency", "energy")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a board says of its own state; None is not known. `load` is how many processes wanted to run, on average."""

    governor: str | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    load: float | None = None


@dataclass(frozen=True, slots=True)
class Timed:
    """A program's timing, and its energy in microjoules a run with the figure's source, where that was asked for."""

    timing: Timing
    energy: tuple[float, str] | None = None


class Board(Protocol):
    """One board. Law: `time` takes one round trip, and the interleaved rounds of a group loop on the board itself.

    `Board(device, tables_dir)`: the profile that names it, and where locks are kept.
    """

    real: ClassVar[bool]  # False: its figures are made up and it runs no model
    here: ClassVar[bool]  # its programs run on this very machine, so that what is timed here is timed on it
    canary: Artefact | None  # the same work timed beside every group, to notice slow phases; None where there are none

    def __init__(self, device: DeviceProfile, tables_dir: Path) -> None: ...

    def probe(self) -> DeviceProfile:
        """What the board says that it is."""
        ...

    def unreachable(self) -> str | None:
        """Why nothing can be timed on it from here, in one line; None where it can."""
        ...

    def conditions(self) -> Conditions: ...

    def counts_energy(self) -> bool:
        """Whether `time` can tell the energy of a run."""
        ...

    def lease(self, timeout_s: float | None = None) -> AbstractContextManager[None]:
        """The board for this process alone, however long others hold it, or HwnasError after `timeout_s`. A process may
        take it again inside the block."""
        ...

    def engine(self, name: str, threads: int, tables_dir: Path | None) -> Engine:
        """What builds for the board under an engine's name; ImportError where it is not installed."""
        ...

    def engine_version(self, name: str) -> str | None:
        """What a row measured there now says of its engine; None where it cannot be asked."""
        ...

    def run(self, artefact: Artefact, inputs: np.ndarray) -> np.ndarray:
        """The outputs of a batch of inputs [N, ...]; HwnasError where the board runs no model."""
        ...

    def time(
        self,
        programs: Sequence[Artefact],
        plan: Plan | None = None,
        quantities: Sequence[str] = ("latency",),
        beside: Sequence[Artefact] = (),
    ) -> list[Timed | Exception]:
        """All programs in the same interleaved rounds, then those `beside` them, of which latency alone is asked.

        One that fails gives its exception, and the others go on.

        ImportError, MemoryError and OSError while programs are loaded go through: that is the board's state, not a
        program's.
        """
        ...


def outcomes_of(
    board: Board,
    programs: Sequence[Artefact],
    plan: Plan | None = None,
    quantities: Sequence[str] = ("latency",),
    beside: Sequence[Artefact] = (),
) -> list[Timed | Exception]:
    """`board.time`, an outcome a program. A time that is none is an exception, as any failed measurement is, so that
    no table holds it. HwnasError where outcomes are missing, since nobody knows then whose the others are."""
    found, wanted = board.time(programs, plan, quantities, beside), len(programs) + len(beside)
    if len(found) != wanted:
        raise HwnasError(f"a board must give an outcome for each of {wanted} programs, got {len(found)}")
    return [_checked(outcome) for outcome in found]


def _checked(outcome: Any) -> Timed | Exception:
    if isinstance(outcome, Exception):
        return outcome
    if not isinstance(outcome, Timed):
        return HwnasError(f"a board's outcome must be a Timed or an exception, got {type(outcome).__name__}")
    told = (*outcome.timing.samples_us, *outcome.timing.round_minima_us)
    wrong = [time_us for time_us in told if not 0 < time_us < math.inf]
    if wrong or not told:
        got = f"{wrong[0]} us" if wrong else "none"
        return HwnasError(f"a board's times must be finite numbers above 0, got {got}")
    return outcome


def board_of(device: DeviceProfile, tables_dir: Path = Path("latency_tables")) -> Board | None:
    """The board that a profile names; None where it names none. HwnasError where there is no board of that name."""
    if device.board is None:
        return None
    found: type[Board] = find.value("boards", device.board, "Board")
    return found(device, tables_dir)
