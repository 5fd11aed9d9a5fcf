"""TVM-compiled kernels: a block's ONNX model through the native compiler, its own steps timed; a network as a library.

The compiled program reads and writes float32 NCHW, so a block compiled alone begins and ends with layout changes (and,
in INT8, with quantising) that it does not have inside a network. Programs run step by step: only the block's own steps
are timed, after one whole run that fills their inputs with plausible values.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hwnas.boards import board_of
from hwnas.card import device_clock
from hwnas.engines import Artefact, Layer, Taken
from hwnas.errors import HwnasError
from hwnas.export.native import arena, compile_onnx, link
from hwnas.export.native.compile import plan_model
from hwnas.export.native.load import NativeModel
from hwnas.export.native.objects import default_cache, kernel_objects, sources_digest
from hwnas.export.native.operator import operators
from hwnas.export.native.tiles import TileTable
from hwnas.export.onnx import block_model, network_model
from hwnas.measure.calls import least_call_us, loop_us, without_calls
from hwnas.measure.float_ends import with_float_ends
from hwnas.measure.harness import Runner, measure
from hwnas.measure.onnx_file import pinned
from hwnas.measure.player import open_program, random_input, write_program
from hwnas.network import Network, Operator

if TYPE_CHECKING:
    from onnx import ModelProto

    from hwnas.export.native.lower import Candidate
    from hwnas.kernels.target import Target
    from hwnas.measure.onnx_file import Input
    from hwnas.profile import DeviceProfile


class Engine:
    """Compiles for the device's target; compiled kernels are kept by content, so equal kernels are compiled once.

    Which tile of each kernel is the fastest on the device is kept beside its tables; without tables each has its
    default.
    """

    general: ClassVar[bool] = False
    precisions: ClassVar[frozenset[str] | None] = None
    exact: ClassVar[tuple[str, ...]] = ("size", "peak_memory")
    compiles: ClassVar[bool] = True

    def __init__(self, device: DeviceProfile, threads: int = 1, tables_dir: Path | None = None) -> None:
        if threads != 1:
            raise HwnasError(
                f"a compiled library runs on one thread, got threads={threads}", hint="threads: 1 in the run file"
            )
        self.device = device
        self.tiles = None if tables_dir is None else tile_table(tables_dir, device)

    @cached_property
    def machine(self) -> Target:
        from hwnas.kernels.target import parse_target

        import_tvm_alone()
        return parse_target(self.device.target)

    @cached_property
    def compiler(self) -> tuple[str, ...]:
        return link.toolchain(self.machine).compiler

    @property
    def version(self) -> str:
        return self.installed_version()

    @staticmethod
    def installed_version() -> str:
        """The kernels' own sources and the code generator decide what a row costs."""
        import_tvm_alone()
        return f"tvm kernels {sources_digest()[:12]}"

    @staticmethod
    def artefact_name(precision: str, model: str) -> str:
        return f"native-{precision}"

    @staticmethod
    def sources() -> Mapping[str, str]:
        return {"kernels and TVM": sources_digest()[:16]}

    @staticmethod
    def price(network: Network, target: str) -> dict[str, int]:
        program = arena.planned(network, target)
        return {"size": arena.constant_bytes(program), "peak_memory": program.arena_bytes}

    @staticmethod
    def least_memory(operator: Operator, image_channels: int) -> float:
        """A compiled library's arena from below."""
        return float(arena.arena_bound(operator, image_channels))

    # -- building

    def build(self, model: ModelProto | Path, target: str, folder: Path) -> Artefact:
        """A native library; `choices` of the artefact are the tiles that the device's table holds for its kernels."""
        import_tvm_alone()
        asked = list[str]()

        def choose(candidate: Candidate) -> int:
            asked.append(candidate.key)
            return 0 if self.tiles is None else self.tiles.choose(candidate)

        compile_onnx(model, target, folder, tiles=self.tiles, choose_tile=choose)
        return Artefact("tvm", folder, {"choices": self._tiles_of(asked)})

    def built(self, path: Path, network: Network) -> Artefact:
        return Artefact("tvm", path)

    def choices(self, built: Mapping[str, Any] | None) -> dict[str, Any]:
        return self._tiles_of(built or ())

    def _tiles_of(self, kernels: Iterable[str]) -> dict[str, Any]:
        held = self.tiles.choices.get(self.device.target, {}) if self.tiles is not None else {}
        return {kernel: held[kernel]["tile"] if kernel in held else None for kernel in kernels}

    def block(self, operator: Operator, folder: Path) -> Artefact:
        kinds = self._write(with_float_ends(block_model(operator), operator), folder)
        first, last = own_steps(kinds, operator)
        return Artefact("tvm", folder, {"first": first, "last": last})

    def network(self, network: Network, seed: int, folder: Path) -> Artefact:
        kinds = self._write(network_model(network, seed), folder)
        return Artefact("tvm", folder, {"first": 0, "last": len(kinds)})

    def baseline(self, operator: Operator, folder: Path) -> Artefact | None:
        """None: the loop runs in C, so a call costs nothing worth taking off."""
        return None

    def take(self, path: Path, model: ModelProto, inputs: tuple[Input, ...], folder: Path) -> Taken:
        """The file compiled, with those weights that lie in files beside it; each step is a layer."""
        from onnx import external_data_helper

        ready = pinned(model, list(inputs))
        external_data_helper.load_external_data_for_model(ready, str(path.parent))
        artefact = self.build(ready, self.device.target, folder / "native")

        def layers() -> list[Layer]:
            kinds = self._write(ready, folder / "steps")
            whole = open_program(folder / "steps", 0, len(kinds))
            steps = [replace(whole, first=i, last=i + 1) for i in range(len(kinds))]
            return [Layer(f"{i}", kind, measure(steps[i]).p50_us) for i, kind in enumerate(kinds)]

        return Taken(artefact, layers)

    @staticmethod
    def load(artefact: Artefact) -> Callable[[], object]:
        return NativeModel(artefact.path).run

    def _write(self, model: ModelProto, folder: Path) -> list[str]:
        """The compiled model as a program that is played step by step; the kinds of its steps."""
        program, kernels = plan_model(model, self.machine, self.tiles.choose if self.tiles else None)
        if self.tiles is not None:
            self.tiles.save()
        objects = kernel_objects(kernels, self.machine, default_cache())
        write_program(program, objects, self.compiler, folder)
        return [call.kind for call in program.calls]

    # -- running

    @staticmethod
    def open(artefact: Artefact) -> Runner:
        """The steps of a played program, or a whole library as its caller runs it."""
        if "first" in artefact.options:
            return open_program(artefact.path, artefact.options["first"], artefact.options["last"])
        return LibraryRunner(artefact.path)

    @staticmethod
    def run(artefact: Artefact, inputs: np.ndarray) -> np.ndarray:
        return np.asarray(NativeModel(artefact.path)(inputs))


def tile_table(tables_dir: Path, device: DeviceProfile) -> TileTable:
    """The device's tile choices. Tiles are timed in turn with everything else, and only on the device itself."""
    board = board_of(device, tables_dir)
    here = board is not None and board.here and board.unreachable() is None
    clock = partial(device_clock, tables_dir, device)
    return TileTable(Path(tables_dir) / device.folder / "tiles.json", device.target, time_missing=here, clock=clock)


def import_tvm_alone() -> None:
    """Import TVM without torch: tvm_ffi imports torch wherever it is installed, and measuring needs none of it.

    For the time of the import, torch's entry in sys.modules is None, which makes `import torch` an ImportError.
    """
    if "torch" in sys.modules:
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("tvm")
    finally:
        del sys.modules["torch"]


def own_steps(kinds: Sequence[str], operator: Operator) -> tuple[int, int]:
    """[first, last) of the steps that are the block itself, given the kinds of all steps in order: without those at the
    edges that it has only because it was compiled alone. A `convert` block is one of these, so it keeps it."""
    if operator.kind == "convert":
        wanted = operator.layers[0].kind  # quantize or dequantize
        places = [i for i, kind in enumerate(kinds) if kind.startswith(wanted)]
        if not places:
            raise HwnasError(f"the compiled {operator} has no {wanted} step, only {', '.join(kinds)}")
        return places[0], places[0] + 1
    first, last, known = 0, len(kinds), operators()
    while first < last and known.kind(kinds[first]).edge == "entry":
        first += 1
    while last > first and known.kind(kinds[last - 1]).edge == "exit":
        last -= 1
    return first, last


class LibraryRunner:
    """An exported library as its caller runs it: whole runs, less what calling it from Python costs."""

    def __init__(self, folder: str | Path) -> None:
        self.model = NativeModel(folder)
        rng = np.random.default_rng(0)
        self.model(tuple(random_input(rng, (1, *end.sample), end.type, end.below) for end in self.model.inputs))
        self.call_us = empty_call_us()

    def run_us(self, repeats: int) -> float:
        return without_calls(loop_us(self.model.run, repeats), repeats, self.call_us)


@functools.cache
def empty_call_us() -> float:
    """What calling a library by ctypes costs, once a process."""
    return least_call_us(_Nothing().run)


class _Nothing:
    """A call shaped like `NativeModel.run`: four integers to a C function that returns at once."""

    def __init__(self) -> None:
        import ctypes

        self._run = ctypes.CDLL(None).abs
        self._run.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        self._pointers, self._size = (0, 0, 0), np.zeros(1, np.uint8)

    def run(self) -> None:
        if self._run(*self._pointers, self._size.size):
            raise HwnasError("abs(0) was not 0")
