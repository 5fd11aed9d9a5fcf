"""Engines, one a file (`Engine`): a model goes in, a self-contained artefact comes out, which a board runs.

A file of this folder imports its engine inside functions: what it says of itself is asked by everything, whether the
engine is installed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from hwnas import find

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto

    from hwnas.measure.harness import Runner
    from hwnas.measure.onnx_file import Input
    from hwnas.network import Network, Operator
    from hwnas.profile import DeviceProfile


@dataclass(frozen=True)
class Artefact:
    """What an engine made, and all that it takes to run it: a file or folder, and how the engine opens it.

    `options` are plain JSON values, so that another process or machine can be told them.
    """

    engine: str  # the file of hwnas/engines that opens it
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as its engine runs it (fused): the median of its runs."""

    name: str
    kind: str
    p50_us: float


class Engine(Protocol):
    """One engine, building for one device. Law: what `build` gives runs on the device's board and nowhere asks back.

    `Engine(device, threads, tables_dir)`; `tables_dir` is where choices of the engine's own are kept beside the tables,
    None where there are none. What building raises becomes a failed row with the exception's text as its reason.
    """

    # -- what is asked of an engine before there is one
    general: ClassVar[bool]  # it takes any network, so an fp32 twin is predicted in it
    precisions: ClassVar[frozenset[str] | None]  # of the networks that it runs; None: of every format
    exact: ClassVar[tuple[str, ...]]  # costs that `price` knows exactly before anything is trained further
    compiles: ClassVar[bool]  # its artefact is code for the device's compiler target
    version: str

    def __init__(self, device: DeviceProfile, threads: int, tables_dir: Path | None) -> None: ...

    @staticmethod
    def installed_version() -> str:
        """What a row measured now says of the engine; ImportError where it is not installed."""
        ...

    @staticmethod
    def artefact_name(precision: str, model: str) -> str:
        """The file or folder beside the ONNX file `model` that runs on the device; `model` where that itself does."""
        ...

    @staticmethod
    def sources() -> Mapping[str, str]:
        """Digests of what decides an artefact besides hwnas's own exporting code."""
        ...

    @staticmethod
    def price(network: Network, target: str) -> dict[str, int]:
        """The `exact` costs of the artefact of a network, bytes."""
        ...

    @staticmethod
    def least_memory(operator: Operator, image_channels: int) -> float:
        """Bytes of working memory that a network with this block takes at least."""
        ...

    # -- building
    def build(self, model: ModelProto | Path, target: str, folder: Path) -> Artefact:
        """The model as it ships. Where the artefact is the ONNX file itself, nothing is made."""
        ...

    def built(self, path: Path, network: Network) -> Artefact:
        """What `build` made before, at `path`; `network` is what it computes."""
        ...

    def block(self, operator: Operator, folder: Path) -> Artefact:
        """A block with random weights, to be timed: `folder` is its own, and empty."""
        ...

    def network(self, network: Network, seed: int, folder: Path) -> Artefact:
        """A whole network with random weights, to be timed."""
        ...

    def baseline(self, operator: Operator, folder: Path) -> Artefact | None:
        """What a run of `block(operator)` does besides the block, timed in the same rounds and taken off.

        Operators that share a baseline get one of the same path; None where there is nothing to take off.
        """
        ...

    def choices(self, built: Mapping[str, Any] | None) -> dict[str, Any]:
        """What decides an artefact besides model, code and target, as it would be decided now; `built` are the choices
        of an artefact made before. Empty where there is nothing to choose."""
        ...

    # -- running, on the machine that is the board
    @staticmethod
    def open(artefact: Artefact) -> Runner: ...

    @staticmethod
    def run(artefact: Artefact, inputs: np.ndarray) -> np.ndarray:
        """The outputs of a batch of inputs [N, ...], as they come."""
        ...


@dataclass(frozen=True)
class Taken:
    """Any ONNX file as an engine took it for `hwnas bench`. `layers` times each by itself and `note` says what a person
    should know of the figures: both load the artefact in this process."""

    artefact: Artefact
    layers: Callable[[], list[Layer]]
    note: Callable[[], str] = lambda: ""


@runtime_checkable
class AnyModel(Protocol):
    """What an engine is besides that can be asked to time any ONNX file, with all that such a file may hold."""

    def take(self, path: Path, model: ModelProto, inputs: tuple[Input, ...], folder: Path) -> Taken:
        """The file at `path`, which is `model`, for inputs of these shapes; what is made of it goes into `folder`."""
        ...

    @staticmethod
    def load(artefact: Artefact) -> Callable[[], object]:
        """Loads a taken artefact, and gives what runs it once: how long both take in a fresh process is timed."""
        ...


def engine_class(name: str) -> type[Engine]:
    """The engine of a name; HwnasError names the nearest where there is none."""
    found: type[Engine] = find.value("engines", name, "Engine")
    return found


def open_artefact(artefact: Artefact) -> Runner:
    """Loads an artefact in this process, ready to run."""
    return engine_class(artefact.engine).open(artefact)
