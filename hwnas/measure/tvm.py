"""TVM-compiled kernels on this machine: a block's ONNX model through the native compiler, its own steps timed.

The compiled program reads and writes float32 NCHW, so a block compiled alone begins and ends with layout changes (and,
in INT8, with quantising) that it does not have inside a network. Programs run step by step: only the block's own steps
are timed, after one whole run that fills their inputs with plausible values.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.device import DeviceProfile
from hwnas.errors import HwnasError
from hwnas.export.native import link
from hwnas.export.native.compile import plan_model
from hwnas.export.native.load import NativeModel
from hwnas.export.native.objects import default_cache, kernel_objects, sources_digest
from hwnas.export.native.operator import operators
from hwnas.export.native.tiles import TileTable
from hwnas.export.onnx import block_model, network_model
from hwnas.measure.calls import least_call_us, loop_us, without_calls
from hwnas.measure.canary import Canary
from hwnas.measure.energy import rapl_energy_uj
from hwnas.measure.float_ends import with_float_ends
from hwnas.measure.harness import Runner
from hwnas.measure.player import StepsRunner, load_program, random_input
from hwnas.network import Network, Operator

if TYPE_CHECKING:
    from onnx import ModelProto

    from hwnas.kernels.target import Target


def version() -> str:
    """The kernels' own sources and the code generator decide what a row costs."""
    import_tvm_alone()
    return f"tvm kernels {sources_digest()[:12]}"


class TvmBackend:
    """Compiles for the device's target; compiled kernels are kept by content, so equal kernels are compiled once."""

    name = "tvm"

    def __init__(self, device: DeviceProfile, threads: int = 1, tiles: TileTable | None = None) -> None:
        """`tiles` keeps which tile of each kernel is the fastest here; without it each has its default."""
        import_tvm_alone()
        from hwnas.kernels.target import parse_target

        if threads != 1:
            raise HwnasError(
                f"a compiled library runs on one thread, got threads={threads}", hint="threads: 1 in the run file"
            )
        self.target: Target = parse_target(device.target)
        self.compiler = link.toolchain(self.target).compiler  # refuses now where this machine has no C compiler
        self.tiles = tiles
        self.version = version()

    def block(self, operator: Operator) -> StepsRunner:
        return self._loaded(with_float_ends(block_model(operator), operator), operator)

    def network(self, network: Network, seed: int) -> StepsRunner:
        return self.model(network_model(network, seed))

    def model(self, model: ModelProto) -> StepsRunner:
        """A runner of any ONNX model in the project's contract, layout changes included."""
        return self._loaded(model, None)

    def steps(self, model: ModelProto) -> list[tuple[str, StepsRunner]]:
        """Every step of the compiled model with its kernel's kind, each a runner of its own."""
        whole, kinds = self._program(model)
        return [(kind, replace(whole, first=i, last=i + 1)) for i, kind in enumerate(kinds)]

    def baseline(self, operator: Operator) -> Runner | None:
        """None: the loop runs in C, so a call costs nothing worth taking off."""
        return None

    def canary(self) -> Runner | None:
        return Canary()

    def energy_uj(self, runner: Runner, latency_us: float) -> tuple[float, str] | None:
        return rapl_energy_uj(runner, latency_us)

    def _loaded(self, model: ModelProto, block: Operator | None) -> StepsRunner:
        whole, kinds = self._program(model)
        if block is None:
            return whole
        first, last = own_steps(kinds, block)
        return replace(whole, first=first, last=last)

    def _program(self, model: ModelProto) -> tuple[StepsRunner, list[str]]:
        """The compiled model with the kinds of its steps."""
        program, kernels = plan_model(model, self.target, self.tiles.choose if self.tiles else None)
        if self.tiles is not None:
            self.tiles.save()
        objects = kernel_objects(kernels, self.target, default_cache())
        kinds = [call.kind for call in program.calls]
        return load_program(program, objects, self.compiler, 0, len(kinds)), kinds


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
    """[first, last) of the steps that are the block itself, given the kinds of all steps in order.

    Steps at the edges that a block has only because it was compiled alone are left out; a `convert` block is one.
    """
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
