"""The null engine: a block costs what its MACs and bytes do by the profile, a network the sum of its blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hwnas import formats, ops
from hwnas.engines import Artefact
from hwnas.errors import HwnasError
from hwnas.network import Network, Operator, elements

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto

    from hwnas.profile import DeviceProfile

GRAIN = 1024  # costs are multiples of 1/1024 us, so that sums of thousands of them are exact in any order


def priced(latency_us: float, energy_uj: float) -> Artefact:
    """A program that takes exactly this much, every time."""
    return Artefact("null", Path(), {"latency_us": latency_us, "energy_uj": energy_uj})


@dataclass(frozen=True, slots=True)
class FixedRunner:
    """Takes exactly this long, every time."""

    latency_us: float

    def run_us(self, repeats: int) -> float:
        return self.latency_us * repeats


class Engine:
    """Charges what the profile's `costs` say."""

    general: ClassVar[bool] = True
    precisions: ClassVar[frozenset[str] | None] = None
    exact: ClassVar[tuple[str, ...]] = ()
    compiles: ClassVar[bool] = False
    version = "null 1"

    def __init__(self, device: DeviceProfile, threads: int = 1, tables_dir: Path | None = None) -> None:
        if device.costs is None:
            raise HwnasError(f"device {device.name} has no made-up costs")
        self.costs = device.costs

    @staticmethod
    def installed_version() -> str:
        return Engine.version

    @staticmethod
    def artefact_name(precision: str, model: str) -> str:
        return model

    @staticmethod
    def sources() -> Mapping[str, str]:
        return {}

    @staticmethod
    def price(network: Network, target: str) -> dict[str, int]:
        return {}

    @staticmethod
    def least_memory(operator: Operator, image_channels: int) -> float:
        return float(ops.least_peak_bytes(operator))

    def choices(self, built: Mapping[str, Any] | None) -> dict[str, Any]:
        return {}

    def build(self, model: ModelProto | Path, target: str, folder: Path) -> Artefact:
        raise HwnasError("the null engine prices networks, and builds no model")

    def built(self, path: Path, network: Network) -> Artefact:
        return self.network(network, 0, path)

    def block(self, operator: Operator, folder: Path) -> Artefact:
        """dispatch + macs / rate[precision] + bytes / bandwidth; energy likewise without the dispatch."""
        macs, moved = ops.macs(operator), bytes_moved(operator)
        rate = _of_format(self.costs.macs_per_us.value, operator.precision)
        picojoules = _of_format(self.costs.picojoules_per_mac.value, operator.precision)
        latency = self.costs.dispatch_us.value + macs / rate + moved / self.costs.bytes_per_us.value
        energy = (macs * picojoules + moved * self.costs.picojoules_per_byte.value) / 1e6
        return priced(math.ceil(latency * GRAIN) / GRAIN, math.ceil(energy * GRAIN) / GRAIN)

    def network(self, network: Network, seed: int, folder: Path) -> Artefact:
        """The sum of its blocks: on this device tables predict exactly."""
        costs = [self.block(operator, folder).options for operator in network.operators]
        return priced(sum(cost["latency_us"] for cost in costs), sum(cost["energy_uj"] for cost in costs))

    def baseline(self, operator: Operator, folder: Path) -> Artefact | None:
        return None

    @staticmethod
    def open(artefact: Artefact) -> FixedRunner:
        return FixedRunner(artefact.options["latency_us"])

    @staticmethod
    def run(artefact: Artefact, inputs: np.ndarray) -> np.ndarray:
        raise HwnasError("the null engine prices networks, and runs none")


def _of_format(charged: Mapping[str, float], precision: str) -> float:
    """What the profile charges for a format; for one that it does not know, of the same arithmetic's most precise."""
    if precision in charged:
        return charged[precision]
    arithmetic = formats.of(precision).arithmetic
    alike = [name for name in formats.names() if name in charged and formats.of(name).arithmetic == arithmetic]
    if not alike:
        raise HwnasError(f"the profile charges nothing for {precision} or another format of {arithmetic} arithmetic")
    return charged[alike[0]]


def bytes_moved(operator: Operator) -> int:
    """Weights read, inputs read and output written, bytes."""
    width = formats.element_bytes(formats.of(operator.precision).exchange)
    given = 1 if ops.reads_pixels(operator) else width
    read = given * sum(elements(port.shape) for port in operator.inputs)
    return ops.weight_bytes(operator) + read + width * elements(operator.output_shape)
