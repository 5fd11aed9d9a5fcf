"""The weight-sharing net of any space, the stand-alone net of any architecture, and the way from one to the other.

One functional executor (`hwnas.ops.forward`) runs both: the supernet hands it slices of shared tensors, the stand-alone
net its own. So a hard selection costs what the stand-alone net costs, nothing is switched on or off, and a call leaves
no state. Slices take the first channels and the centre of a kernel (Once-for-All, arXiv:1908.09791, without its kernel
transform). 1-bit convolutions hold their own weights: a latent weight read by its sign alone and one read by its
value do not train together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwnas import ops
from hwnas.errors import HwnasError
from hwnas.network import Network, Operator, Shape
from hwnas.ops.numeric.normalise import MOMENTUM
from hwnas.space import SearchSpace, Selection, Slot, lower_slot


def key(name: str) -> str:
    """A parameter's full name as torch accepts it (no dots)."""
    return name.replace(".", "/")


def _slice(parameter: Tensor, shape: Shape) -> Tensor:
    """The part of a shared tensor that a smaller one uses: first channels, central kernel window."""
    if parameter.shape == shape:
        return parameter
    for axis, extent in enumerate(shape):
        spatial = len(shape) == 4 and axis >= 2
        start = (parameter.shape[axis] - extent) // 2 if spatial else 0
        parameter = parameter.narrow(axis, start, extent)
    return parameter


class SharedSlot(nn.Module):
    """One place of the supernet: the largest tensors any of its operators needs, sliced on every call."""

    def __init__(self, space: SearchSpace, slot: Slot, generator: torch.Generator) -> None:
        super().__init__()
        self.slot = slot
        self.shared = nn.ParameterDict()
        largest: dict[str, tuple[Operator, Shape]] = {}
        for operator in space.operators_of(slot):
            for name, shape in ops.parameters(operator).items():
                held = largest.get(_shared_name(operator, name))
                if held is None or _dominates(shape, held[1]):
                    largest[_shared_name(operator, name)] = (operator, shape)
        for name, (operator, shape) in largest.items():
            value = ops.initial(operator, generator)[name.split(":")[1]]
            assert value.shape == shape
            self.shared[key(name)] = nn.Parameter(value)

    def weights(self, operator: Operator) -> dict[str, Tensor]:
        """The operator's parameters as slices (views) of the shared ones, by "<layer>.<parameter>"."""
        shapes = ops.parameters(operator)
        return {name: _slice(self.shared[key(_shared_name(operator, name))], shape) for name, shape in shapes.items()}

    def forward(self, x: Tensor, selection: Selection) -> Tensor:
        """The selected operator on x (N, C, H, W); a soft selection runs its operators and sums them by weight."""
        nodes = lower_slot(self.slot, selection)
        if not nodes:
            return x
        if len(nodes) == 1 and isinstance(nodes[0].probability, float):
            return ops.forward(nodes[0].operator, x, self.weights(nodes[0].operator), training=True)
        outputs = {node.operator.output_shape for node in nodes}
        if len(outputs) > 1:
            raise HwnasError(
                f"{self.slot.name}: a mix of outputs {sorted(outputs)} cannot be summed",
                hint="pick widths and resolutions hard",
            )
        total: Any = 0.0
        weight: Any = 0.0
        for node in nodes:
            total = total + node.probability * ops.forward(node.operator, x, self.weights(node.operator), training=True)
            weight = weight + node.probability
        return total if total.shape != x.shape else total + (1.0 - weight) * x


def _shared_name(operator: Operator, name: str) -> str:
    """1-bit layers share among themselves only; fp32 and int8 share with each other."""
    return f"{'binary' if operator.precision == 'w1a1' else 'real'}:{name}"


def _dominates(shape: Shape, other: Shape) -> bool:
    return len(shape) == len(other) and all(a >= b for a, b in zip(shape, other, strict=True))


class WeightSharing(nn.Module):
    """The supernet of a space. `stages` fold: x = stage(x, selection). Batch norm uses the batch's statistics."""

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.space = space
        self.stages = nn.ModuleList(SharedSlot(space, slot, generator) for slot in space.slots)

    def forward(self, inputs: Tensor, selection: Selection) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W), resized to what the selection's first operator reads."""
        slots = (stage.slot for stage in self.stages)  # type: ignore[union-attr]
        first = next(node for slot in slots for node in lower_slot(slot, selection))  # type: ignore[arg-type]
        x = fitted(inputs, first.operator)
        for stage in self.stages:
            x = stage(x, selection)
        return x


class Net(nn.Module):
    """The stand-alone net of a network: its own parameters, and batch-norm statistics as buffers."""

    def __init__(self, network: Network, seed: int = 0) -> None:
        super().__init__()
        if any(not isinstance(node.probability, float) for node in network):
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
        self._names = [
            (node, list(ops.parameters(node.operator)), list(ops.buffers(node.operator))) for node in network
        ]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W), resized to the net's input shape."""
        x = fitted(inputs, self.network.nodes[0].operator)
        for node, parameters, buffers in self._names:
            held = {name: self.own[key(f"{node.name}.{name}")] for name in parameters}
            held |= {name: self.get_buffer(key(f"{node.name}.{name}")) for name in buffers}
            x = ops.forward(node.operator, x, held, training=self.training)
        return x

    def arrays(self) -> dict[str, np.ndarray]:
        """Every parameter and statistic as float32 numpy, by "<node>.<layer>.<parameter>"."""
        state: dict[str, Tensor] = {**dict(self.own.items()), **dict(self.named_buffers())}
        return {name.replace("/", "."): value.detach().cpu().numpy() for name, value in state.items()}


def fitted(images: Tensor, first: Operator) -> Tensor:
    """Images at the size that a net's first operator reads; one that preprocesses does the resizing itself."""
    return images if ops.reads_pixels(first) else resize(images, first.input_shape)


def resize(images: Tensor, shape: Shape) -> Tensor:
    """Images (N, C, H, W) at the height and width of `shape` (..., H, W): bilinear, antialiased, or as they are."""
    if images.shape[-2:] == tuple(shape[-2:]):
        return images
    return nn.functional.interpolate(images, tuple(shape[-2:]), mode="bilinear", antialias=True, align_corners=False)


def extract(net: WeightSharing, architecture: Mapping[str, Any]) -> Net:
    """The stand-alone net of an architecture, with copies of the supernet's weights; recalibrate it before use."""
    network = net.space.lower(architecture)
    slots = {stage.slot.name: stage for stage in net.stages}  # type: ignore[union-attr]
    alone = Net(network)
    with torch.no_grad():
        for node in network:
            for name, value in slots[node.name].weights(node.operator).items():  # type: ignore[operator]
                alone.own[key(f"{node.name}.{name}")].copy_(value)
    return alone.to(next(net.parameters()).device)


def recalibrate(net: Net, batches: Iterable[Tensor]) -> Net:
    """Batch-norm statistics from images, averaged over the batches, each image alike: set in place, the net in eval
    mode."""
    sums: dict[str, Tensor] = {}
    count, where = 0, next(net.parameters()).device
    with torch.no_grad():
        net.train()
        for images in batches:
            for _, buffer in net.named_buffers():
                buffer.zero_()  # so that one update leaves momentum times the batch's statistic
            net(images.to(where))
            for name, buffer in net.named_buffers():
                sums[name] = sums.get(name, torch.zeros_like(buffer)) + buffer * (len(images) / MOMENTUM)
            count += len(images)
        if not count:
            raise HwnasError("batch-norm recalibration needs at least one batch")
        for name, buffer in net.named_buffers():
            buffer.copy_(sums[name] / count)
    return net.eval()
