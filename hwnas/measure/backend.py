"""An engine on a device's board: what rows and whole networks are measured by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwnas import find
from hwnas.boards import Board, board_of
from hwnas.engines import Engine
from hwnas.errors import HwnasError, unknown
from hwnas.extras import missing_extra
from hwnas.profile import DeviceProfile


@dataclass(frozen=True)
class Backend:
    """What builds artefacts for a device, and where they are timed."""

    engine: Engine
    board: Board

    @property
    def version(self) -> str:
        return self.engine.version


def why_not_here(device: DeviceProfile) -> str | None:
    """Why nothing can be timed on the device from here, as one line; None where its board is within reach."""
    board = board_of(device)
    if board is None:
        return f"device {device.name} is not this machine, so nothing can be timed on it from here"
    return board.unreachable()


def reachable_board(device: DeviceProfile, tables_dir: Path, hint: str) -> Board:
    """The device's board; HwnasError where nothing can be timed on it from here."""
    board, elsewhere = board_of(device, tables_dir), why_not_here(device)
    if board is None or elsewhere is not None:
        raise HwnasError(elsewhere or "", hint=hint)
    return board


def engine_version(engine: str, device: DeviceProfile) -> str | None:
    """What a row measured now would say of its engine; None where the engine cannot be asked from here."""
    board = board_of(device)
    known = board is not None and not board.unreachable() and find.has("engines", engine)
    return board.engine_version(engine) if known and board is not None else None


def require_engine(engine: str) -> None:
    """HwnasError with the nearest name where there is no engine of this one."""
    if not find.has("engines", engine):
        raise unknown("engine", engine, find.names("engines"))


def backend_for(engine: str, device: DeviceProfile, threads: int = 1, tables_dir: Path | None = None) -> Backend:
    """An engine on a device; `tables_dir` is where the device's locks and choices of the engine are kept.

    HwnasError where the device does not run the engine, or is out of reach.
    """
    require_engine(engine)
    if engine not in device.engines:
        raise HwnasError(f"device {device.name} does not run {engine}", hint=f"it runs {', '.join(device.engines)}")
    if threads < 1:
        raise HwnasError(f"threads must be at least 1, got {threads}")
    hint = "hwnas devices probe on it gives its profile, hwnas measure on it its tables folder: copy both here"
    board = reachable_board(device, tables_dir or Path("latency_tables"), hint)
    try:
        built = board.engine(engine, threads, tables_dir)
        assert built.version  # an engine that is not installed says so now
        return Backend(built, board)
    except ImportError as problem:
        raise missing_extra(problem) or problem from None
