"""Boards and engines that each break one law. They are of a file of their own, so that another process finds them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from hwnas.boards import local
from hwnas.boards import null as null_board
from hwnas.engines import Artefact, onnxruntime
from hwnas.export.onnx import network_model
from hwnas.network import Operator
from hwnas.testing.contracts.engine import NETWORK


class SharesNoDevice(local.Board):
    """Is anybody's at any time."""

    def lease(self, timeout_s: float | None = None) -> AbstractContextManager[None]:
        return nullcontext()


class StopsAtTheFirst(local.Board):
    """Gives a group up with the first program that fails."""

    def time(self, programs: Any, *others: Any) -> Any:
        found = super().time(programs, *others)
        failed = next((place for place, one in enumerate(found) if isinstance(one, Exception)), len(found))
        return found[: failed + 1]


class TellsEnergyAlways(null_board.Board):
    def time(self, programs: Any, plan: Any = None, quantities: Any = (), beside: Any = ()) -> Any:
        return super().time(programs, plan, ("energy",), beside)


class IsAnotherVersion(local.Board):
    def engine_version(self, name: str) -> str:
        return "another"


class Loads(onnxruntime.Engine):
    """Says that it compiles, and gives the model as it is."""

    compiles = True


class Keeps(onnxruntime.Engine):
    """Keeps something that no other process can be told."""

    def block(self, operator: Operator, folder: Path) -> Artefact:
        made = super().block(operator, folder)
        return Artefact(made.engine, made.path, {**made.options, "sizes": (1, 2)})


class Halves(onnxruntime.Engine):
    """Builds another model than it was given."""

    def build(self, model: Any, target: str, folder: Path) -> Artefact:
        Path(folder).write_bytes(network_model(NETWORK, 4).SerializeToString())
        return super().build(model, target, folder)


class PricesNothing(onnxruntime.Engine):
    exact = ("peak_memory",)
