"""What an engine must do to be measured, and finding the engine of a name."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hwnas.card import device_clock
from hwnas.device import DeviceProfile
from hwnas.errors import HwnasError, unknown
from hwnas.extras import missing_extra
from hwnas.measure.harness import Runner
from hwnas.network import Network, Operator
from hwnas.probe import differences

if TYPE_CHECKING:
    from hwnas.export.native.tiles import TileTable

ENGINES = ("onnxruntime", "tvm")


class Backend(Protocol):
    """Turns a block or a whole network with random weights into something that can be timed on one device.

    What it raises becomes a failed row with the exception's text as its reason.
    """

    name: str
    version: str

    def block(self, operator: Operator) -> Runner: ...

    def network(self, network: Network, seed: int) -> Runner: ...

    def baseline(self, operator: Operator) -> Runner | None:
        """What a run of `block(operator)` does besides the block, timed in the same rounds and taken off.

        Operators that share a baseline get the same object; None where there is nothing to take off.
        """
        ...

    def canary(self) -> Runner | None:
        """The same work timed beside every group of rows, to notice slow phases; None where there are none."""
        ...

    def energy_uj(self, runner: Runner, latency_us: float) -> tuple[float, str] | None:
        """Microjoules of one run and where the figure comes from; None where nothing here can tell."""
        ...


def tiles_path(tables_dir: Path, device: DeviceProfile) -> Path:
    """Where a device's tile choices are kept, beside its tables."""
    return Path(tables_dir) / device.folder / "tiles.json"


def why_not_here(device: DeviceProfile) -> str | None:
    """Why nothing can be timed on the device from here, as one line; None where it is this machine or made up.

    A profile says `connection: local` of the machine that it was probed on, and may have been copied to another.
    """
    if device.connection == "none":
        return f"device {device.name} is not this machine, so nothing can be timed on it from here"
    different = differences(device) if device.connection == "local" else []
    if not different:
        return None
    return f"device {device.name} is not this machine, which differs: {'; '.join(different)}"


def tile_table(tables_dir: Path, device: DeviceProfile) -> TileTable:
    """The device's tile choices. Tiles are timed in turn with everything else, and only on the device itself."""
    from hwnas.export.native.tiles import TileTable

    clock = functools.partial(device_clock, tables_dir, device)
    here = device.connection == "local" and why_not_here(device) is None
    return TileTable(tiles_path(tables_dir, device), device.target, time_missing=here, clock=clock)


def engine_version(engine: str, device: DeviceProfile) -> str | None:
    """What a row measured now would say of its engine; None where the engine cannot be asked from here."""
    if device.connection == "made-up":
        from hwnas.measure.null import NullBackend

        return NullBackend.version
    if why_not_here(device) is not None or engine not in ENGINES:
        return None
    try:
        return str(importlib.import_module(f"hwnas.measure.{engine}").version())
    except ImportError:
        return None


def backend_for(engine: str, device: DeviceProfile, threads: int = 1, tables_dir: Path | None = None) -> Backend:
    """The backend of an engine on a device: the null device answers for every engine with made-up costs."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if engine not in device.engines:
        raise HwnasError(f"device {device.name} does not run {engine}", hint=f"it runs {', '.join(device.engines)}")
    if threads < 1:
        raise HwnasError(f"threads must be at least 1, got {threads}")
    if device.connection == "made-up":
        from hwnas.measure.null import NullBackend

        return NullBackend(device)
    elsewhere = why_not_here(device)
    if elsewhere is not None:
        raise HwnasError(
            elsewhere,
            hint="hwnas devices probe on it gives its profile, hwnas measure on it its tables folder: copy both here",
        )
    try:
        if engine == "onnxruntime":
            from hwnas.measure.onnxruntime import OnnxRuntimeBackend

            return OnnxRuntimeBackend(threads)
        from hwnas.measure.tvm import TvmBackend

        return TvmBackend(device, threads, None if tables_dir is None else tile_table(tables_dir, device))
    except ImportError as problem:
        raise missing_extra(problem) or problem from None
