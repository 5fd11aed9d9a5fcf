"""The null device: exact made-up costs from a block's MACs and bytes, no clock and no engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hwnas import formats, ops
from hwnas.device import DeviceProfile
from hwnas.errors import HwnasError
from hwnas.measure.harness import Runner
from hwnas.network import Network, Operator, elements

GRAIN = 1024  # costs are multiples of 1/1024 us, so that sums of thousands of them are exact in any order


@dataclass(frozen=True, slots=True)
class FixedRunner:
    """Takes exactly this long, every time."""

    latency_us: float
    energy_uj: float

    def run_us(self, repeats: int) -> float:
        return self.latency_us * repeats


class NullBackend:
    """Charges what the profile's `costs` say, for every engine alike."""

    name = "null"
    version = "null 1"

    def __init__(self, device: DeviceProfile) -> None:
        if device.costs is None:
            raise HwnasError(f"device {device.name} has no made-up costs")
        self.costs = device.costs

    def block(self, operator: Operator) -> FixedRunner:
        """dispatch + macs / rate[precision] + bytes / bandwidth; energy likewise without the dispatch."""
        macs, moved = ops.macs(operator), bytes_moved(operator)
        rate = _of_format(self.costs.macs_per_us.value, operator.precision)
        picojoules = _of_format(self.costs.picojoules_per_mac.value, operator.precision)
        latency = self.costs.dispatch_us.value + macs / rate + moved / self.costs.bytes_per_us.value
        energy = (macs * picojoules + moved * self.costs.picojoules_per_byte.value) / 1e6
        return FixedRunner(math.ceil(latency * GRAIN) / GRAIN, math.ceil(energy * GRAIN) / GRAIN)

    def network(self, network: Network, seed: int) -> FixedRunner:
        """The sum of its blocks: on this device tables predict exactly."""
        runners = [self.block(operator) for operator in network.operators]
        return FixedRunner(sum(r.latency_us for r in runners), sum(r.energy_uj for r in runners))

    def baseline(self, operator: Operator) -> Runner | None:
        return None

    def canary(self) -> Runner | None:
        return None

    def energy_uj(self, runner: Runner, latency_us: float) -> tuple[float, str] | None:
        return (runner.energy_uj, "made up") if isinstance(runner, FixedRunner) else None


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
