"""The weight-sharing net of any space, the stand-alone net of any architecture, and the way from one to the other.

One functional executor (`hwnas.ops.forward`) runs both: the supernet hands it slices of shared tensors, the stand-alone
net its own. So a hard selection costs what the stand-alone net costs, nothing is switched on or off, and a call leaves
no state. Slices take the first channels and the centre of a kernel (Once-for-All, arXiv:1908.09791, without its kernel
transform) unless a method brings a rule of its own. 1-bit convolutions hold their own weights: a latent weight read by
its sign alone and one read by its value do not train together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwnas import formats, ops
from hwnas.errors import HwnasError
from hwnas.network import Network, Node, Operator, Shape, walk
from hwnas.ops.numeric.normalise import MOMENTUM
from hwnas.space import SearchSpace, Selection, Slot

Inputs = Tensor | Mapping[str, Tensor]  # of a net with one input, or by name


def key(name: str) -> str:
    """A parameter's full name as torch accepts it (no dots)."""
    return name.replace(".", "/")


Slicing = Callable[[Tensor, Shape], Tensor]  # a shared tensor and the shape wanted of it -> a view of that shape


def leading(parameter: Tensor, shape: Shape) -> Tensor:
    """The first channels of a shared tensor, and the centre of what a kernel covers (its axes after the second)."""
    if parameter.shape == shape:
        return parameter
    for axis, extent in enumerate(shape):
        start = (parameter.shape[axis] - extent) // 2 if axis >= 2 else 0
        parameter = parameter.narrow(axis, start, extent)
    return parameter


class SharedSlot(nn.Module):
    """One place of the supernet: the largest tensors any of its operators needs, sliced on every call."""

    def __init__(self, space: SearchSpace, slot: Slot, generator: torch.Generator) -> None:
        super().__init__()
        self.slot = slot
        self.shared = nn.ParameterDict()
        self.sharing = space.sharing
        largest: dict[str, tuple[Operator, Shape]] = {}
        for operator in space.operators_of(slot):
            for name, shape in ops.parameters(operator).items():
                held = largest.get(self._shared_name(operator, name))
                if held is None or _dominates(shape, held[1]):
                    largest[self._shared_name(operator, name)] = (operator, shape)
        self._require_all_within(space.operators_of(slot), {name: shape for name, (_, shape) in largest.items()})
        for name, (operator, shape) in largest.items():
            value = ops.initial(operator, generator)[name.rpartition(":")[2]]
            assert value.shape == shape
            self.shared[key(name)] = nn.Parameter(value)

    def _require_all_within(self, operators: Iterable[Operator], held: Mapping[str, Shape]) -> None:
        for operator in operators:
            for name, shape in ops.parameters(operator).items():
                largest = held[self._shared_name(operator, name)]
                if not _dominates(largest, shape):
                    raise HwnasError(
                        f"slot {self.slot.name}: {name} is {largest} in one operator and {shape} in another: neither "
                        "is a part of the other",
                        hint="let the space's `sharing` tell them apart",
                    )

    def weights(self, operator: Operator, slicing: Slicing = leading) -> dict[str, Tensor]:
        """The operator's parameters as parts of the shared ones, by "<layer>.<parameter>"."""
        shapes = ops.parameters(operator)
        shared = {name: self.shared[key(self._shared_name(operator, name))] for name in shapes}
        return {name: slicing(shared[name], shape) for name, shape in shapes.items()}

    def _shared_name(self, operator: Operator, name: str) -> str:
        """Formats of one family share: fp32 with int8; 1-bit layers among themselves only."""
        family = formats.of(operator.precision).family
        return ":".join(part for part in (family, self.sharing(operator), name) if part)


def _dominates(shape: Shape, other: Shape) -> bool:
    return len(shape) == len(other) and all(a >= b for a, b in zip(shape, other, strict=True))


class WeightSharing(nn.Module):
    """The supernet of a space: a stage for every slot. Batch norm uses the batch's statistics.

    `slicing` says which part of a shared tensor a smaller operator uses.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, slicing: Slicing = leading) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.space, self.slicing = space, slicing
        self.stages = nn.ModuleList(SharedSlot(space, slot, generator) for slot in space.slots)
        self._place = {slot.name: i for i, slot in enumerate(space.slots)}

    def tensors(self, node: Node, selection: Selection) -> dict[str, Tensor]:
        """The parameters of the operator at a node of the selection's network, by "<layer>.<parameter>"."""
        stage = self.stages[self._place[node.name.partition("/")[0]]]
        assert isinstance(stage, SharedSlot)
        return stage.weights(node.operator, self.slicing)

    def forward(self, inputs: Inputs, selection: Selection) -> Tensor:
        """The network's output of a selection, of inputs (N, ...), images resized to what its first operator reads."""
        network = self.space.lower(selection)

        def run(node: Node, values: tuple[Tensor, ...]) -> Tensor:
            if node.is_mix:
                return mixture(node.weights, values)
            return ops.forward(node.operator, values, self.tensors(node, selection), training=True)

        return result(network, walk(network, run, fitted(network, inputs)))


def mixture(weights: Sequence[Any], values: Sequence[Tensor]) -> Tensor:
    """The sum of `values`, each times its weight, whatever the weights sum to."""
    total: Any = 0.0
    for weight, value in zip(weights, values, strict=True):
        total = total + weight * value
    return total  # type: ignore[no-any-return]


def result(network: Network, outputs: Mapping[str, Tensor]) -> Any:
    """The output itself where a network has one, else all of them by name."""
    return next(iter(outputs.values())) if len(network.outputs) == 1 else dict(outputs)


class Net(nn.Module):
    """The stand-alone net of a network: its own parameters, and batch-norm statistics as buffers."""

    def __init__(self, network: Network, seed: int = 0) -> None:
        super().__init__()
        if any(node.is_mix for node in network):
            raise HwnasError("a stand-alone net needs a hard selection")
        generator = torch.Generator().manual_seed(seed)
        self.network = network
        self.own = nn.ParameterDict()
        for node in network:
            kept = ops.buffers(node.operator)
            for name, value in ops.initial(node.operator, generator).items():
                if name in kept:
                    self.register_buffer(key(f"{node.name}.{name}"), value)
                else:
                    self.own[key(f"{node.name}.{name}")] = nn.Parameter(value)
        self._names = {
            node.name: (list(ops.parameters(node.operator)), list(ops.buffers(node.operator))) for node in network
        }

    def forward(self, inputs: Inputs) -> Tensor:
        """The network's output (all outputs by name, where it has several) of inputs (N, ...), images resized to its
        input shape."""

        def run(node: Node, values: tuple[Tensor, ...]) -> Tensor:
            parameters, buffers = self._names[node.name]
            held: dict[str, Tensor] = {name: self.own[key(f"{node.name}.{name}")] for name in parameters}
            held |= {name: self.get_buffer(key(f"{node.name}.{name}")) for name in buffers}
            return ops.forward(node.operator, values, held, training=self.training)

        return result(self.network, walk(self.network, run, fitted(self.network, inputs)))  # type: ignore[no-any-return]

    def arrays(self) -> dict[str, np.ndarray]:
        """Every parameter and statistic as float32 numpy, by "<node>.<layer>.<parameter>"."""
        state: dict[str, Tensor] = {**dict(self.own.items()), **dict(self.named_buffers())}
        return {name.replace("/", "."): value.detach().cpu().numpy() for name, value in state.items()}


def fitted(network: Network, inputs: Inputs) -> dict[str, Tensor]:
    """What a network is given, by the names of its inputs; images at the size it reads, unless it resizes itself."""
    given = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(list(network.inputs)[:1], inputs)
    for name, port in network.inputs.items():
        if name in given and port.dtype == "float32" and len(port.shape) == 3 and not _resizes(network, name):
            given[name] = resize(given[name], port.shape)
    return given


def _resizes(network: Network, name: str) -> bool:
    readers = [node for node in network if name in node.inputs and not node.is_mix]
    return any(ops.reads_pixels(node.operator) for node in readers)


def resize(images: Tensor, shape: Shape) -> Tensor:
    """Images (N, C, H, W) at the height and width of `shape` (..., H, W): bilinear, antialiased, or as they are."""
    if images.shape[-2:] == tuple(shape[-2:]):
        return images
    return nn.functional.interpolate(images, tuple(shape[-2:]), mode="bilinear", antialias=True, align_corners=False)


def extract(net: WeightSharing, architecture: Mapping[str, Any]) -> Net:
    """The stand-alone net of an architecture, with copies of the supernet's weights; recalibrate it before use.
    HwnasError where the supernet (a wrapper's, say) lacks one of them, or holds it in another shape."""
    network = net.space.lower(architecture)
    alone = Net(network)
    with torch.no_grad():
        for node in network:
            held = net.tensors(node, architecture)
            for name, shape in ops.parameters(node.operator).items():
                if name not in held or tuple(held[name].shape) != tuple(shape):
                    got = tuple(held[name].shape) if name in held else "none"
                    raise HwnasError(f"the supernet must give {node.name} its {name} {tuple(shape)}, got {got}")
                alone.own[key(f"{node.name}.{name}")].copy_(held[name])
    return alone.to(next(net.parameters()).device)


def recalibrate(net: Net, batches: Iterable[Inputs]) -> Net:
    """Batch-norm statistics from images, averaged over the batches, each image alike: set in place, the net in eval
    mode."""
    sums: dict[str, Tensor] = {}
    count, where = 0, next(net.parameters()).device
    with torch.no_grad():
        net.train()
        for given in batches:
            count_here = len(given if isinstance(given, Tensor) else next(iter(given.values())))
            for _, buffer in net.named_buffers():
                buffer.zero_()  # so that one update leaves momentum times the batch's statistic
            net(given.to(where) if isinstance(given, Tensor) else {name: x.to(where) for name, x in given.items()})
            for name, buffer in net.named_buffers():
                sums[name] = sums.get(name, torch.zeros_like(buffer)) + buffer * (count_here / MOMENTUM)
            count += count_here
        if not count:
            raise HwnasError("batch-norm recalibration needs at least one batch")
        for name, buffer in net.named_buffers():
            buffer.copy_(sums[name] / count)
    return net.eval()
