"""Fold, calibrate, run: trained parameters to the integer network that is shipped, and its exact reference.

    fold(network, params)            batch norm into weights; 1-bit weights packed        -> FoldedNet
    calibrate(folded, images)        a code for every integer tensor, integers for weights  -> QuantisedNet
    QuantisedNet(images)             what the exported files must compute

Integer convolutions, dense layers, sums, products and pools follow ONNX Runtime's integer arithmetic bit for bit
(`hwnas/ops/<kind>.py: reference_int8`), and 1-bit convolutions are exact by nature. Only fp32 sums depend on the
order in which they are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.ranges import ClipRule, Observer
from hwnas.network import Layer, Network, elements
from hwnas.ops import gives_codes, input_names, primitive_of, reads_codes
from hwnas.ops.numeric.scales import Scale, dequantise, quantise
from hwnas.ops.primitive import Codes, is_integer, weight_codec

Tensors = Mapping[str, Mapping[str, np.ndarray]]
BATCH = 50  # images run at once where they are small
VALUES = 1 << 24  # of a layer's largest tensor at once, where they are not: 64 MiB, of which a layer holds a few
CORRECTION = 32  # images whose mean error corrects the biases, at least


@dataclass(frozen=True)
class Place:
    """A layer with its full name and the full names it reads: other layers', or the network's own inputs'."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


def places(network: Network) -> Iterator[Place]:
    """Every layer of the network in the order it runs."""
    gives = {name: name for name in network.inputs}  # a node's name -> the full name of the layer that gives its output
    for node in network:
        layers = node.operator.layers
        own = dict(zip(input_names(node.operator), (gives[source] for source in node.inputs), strict=True))
        for layer in layers:
            sources = tuple(own.get(source, f"{node.name}.{source}") for source in layer.inputs)
            yield Place(f"{node.name}.{layer.name}", layer, sources)
        gives[node.name] = f"{node.name}.{layers[-1].name}"


def output_layers(network: Network) -> dict[str, str]:
    """The full name of the layer that gives each output of the network, by the output's name."""
    last = {node.name: f"{node.name}.{node.operator.layers[-1].name}" for node in network}
    return {name: last.get(node, node) for name, node in network.gives.items()}


def check_edges(network: Network, given_codes: bool = False) -> None:
    """HwnasError unless every block reads the precision that its sources give, and all are hard.

    `given_codes` says that the network's own inputs are uint8.
    """
    integer = dict.fromkeys(network.inputs, given_codes)
    for node in network:
        operator = node.operator
        if node.is_mix:
            raise HwnasError(f"{node.name} is a soft mixture; only a hard architecture can be exported")
        wants = reads_codes(operator)
        for source, port in zip(node.inputs, operator.inputs, strict=True):
            if port.dtype == "float32" and wants != integer[source]:
                raise HwnasError(
                    f"{node.name} reads {'uint8' if wants else 'float32'} but is given "
                    f"{'uint8' if integer[source] else 'float32'}",
                    hint="put a convert operator between blocks of different precision",
                )
        integer[node.name] = gives_codes(operator)


Given = np.ndarray | Mapping[str, np.ndarray]  # the input of a network that has one, or all by name


def by_name(network: Network, given: Given) -> dict[str, np.ndarray]:
    """What a network is given, by the names of its inputs; HwnasError where one is missing or of another length."""
    named = dict(given) if isinstance(given, Mapping) else {next(iter(network.inputs)): given}
    if set(named) != set(network.inputs) or len({len(values) for values in named.values()}) != 1:
        raise HwnasError(f"the network takes {list(network.inputs)}, equally many of each, got {list(named)}")
    return named


def images_at_once(network: Network) -> int:
    """How many images run together: a batch of them stays within some hundreds of megabytes at any resolution."""
    largest = max(elements(place.layer.out_shape) for place in places(network))
    read = max(elements(port.shape) for port in network.inputs.values())
    return max(1, min(BATCH, VALUES // max(largest, read)))


Compute = Callable[[Place, list[np.ndarray]], np.ndarray]  # a layer's output from its inputs


def _run(network: Network, given: Given, compute: Compute, codes: Mapping[str, Scale] | None = None) -> Any:
    """The outputs of a network, a batch at a time, from what `compute` gives at each place; the output itself where
    there is one. Inputs become float32, but for those that have `codes` and those of another type."""
    named = by_name(network, given)
    count, step = len(next(iter(named.values()))), images_at_once(network)
    parts = [
        _once(network, {name: values[start : start + step] for name, values in named.items()}, compute, codes)
        for start in range(0, count, step)
    ]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in network.gives}
    return whole if len(whole) > 1 else next(iter(whole.values()))


def _once(
    network: Network, named: Mapping[str, np.ndarray], compute: Compute, codes: Mapping[str, Scale] | None = None
) -> dict[str, np.ndarray]:
    """As `_run`, all inputs at once. A value is dropped after its last reader."""
    plan, outputs = list(places(network)), output_layers(network)
    last = {source: i for i, place in enumerate(plan) for source in place.inputs}
    last |= dict.fromkeys(outputs.values(), len(plan))
    values = {
        name: _typed(array, name in (codes or ()) or network.inputs[name].dtype != "float32")
        for name, array in named.items()
    }
    for i, place in enumerate(plan):
        values[place.name] = compute(place, [values[source] for source in place.inputs])
        for name in {*place.inputs, place.name}:
            if last.get(name, -1) <= i:
                del values[name]
    return {name: values[source] for name, source in outputs.items()}


def _typed(values: np.ndarray, exact: bool) -> np.ndarray:
    return values if exact else np.ascontiguousarray(values, dtype=np.float32)


@dataclass(frozen=True)
class FoldedNet:
    """A network with float constants: what inference needs, batch norm folded away. Keys of `tensors` are layers."""

    network: Network
    tensors: Tensors

    def __call__(self, images: Given) -> Any:
        """float32 outputs of float32 images (N, C, H, W), int8 layers run in float."""
        return self.run(images, lambda place, value: None)

    def run(self, images: Given, watch: Callable[[Place, np.ndarray], None]) -> Any:
        """As `()`, showing `watch` every layer's output."""

        def layer(place: Place, inputs: list[np.ndarray]) -> np.ndarray:
            value = primitive_of(place.layer.kind).reference(place.layer, inputs, self.tensors[place.name])
            watch(place, value)
            return value

        return _run(self.network, images, layer)


@dataclass(frozen=True)
class QuantisedNet:
    """A network with the constants it ships with, and the uint8 code of every int8 tensor, by full layer name.

    `codes` holds the network's own inputs only where it reads uint8 (a single block being measured).
    """

    network: Network
    tensors: Tensors
    codes: Mapping[str, Scale]

    def codes_of(self, place: Place) -> Codes:
        """The codes of a layer's inputs and output."""
        return Codes(tuple(self.codes.get(source) for source in place.inputs), self.codes.get(place.name))

    @property
    def ends_in_integers(self) -> bool:
        """Whether the last arithmetic is of integers, so that equal files give equal bits."""
        layers = [place.layer for place in places(self.network)]
        last = layers[-2] if layers[-1].kind == "dequantize" and len(layers) > 1 else layers[-1]
        return is_integer(last)

    @property
    def is_exact(self) -> bool:
        """Whether nothing but integer arithmetic and single float roundings lies between input and output."""
        layers = [place.layer for place in places(self.network)]
        return all(is_integer(layer) or not primitive_of(layer.kind).is_approximate for layer in layers)

    def __call__(self, images: Given) -> Any:
        """Outputs (N, ...) of images (N, C, H, W): float32 in and out unless the network's ends are uint8. Several
        inputs are given by name, and several outputs come so.

        Where preprocessing is inside, images are raw uint8 (N, H, W, C).
        """
        return _run(self.network, images, self._layer, self.codes)

    def _layer(self, place: Place, inputs: Sequence[np.ndarray]) -> np.ndarray:
        primitive, codes, tensors = primitive_of(place.layer.kind), self.codes_of(place), self.tensors[place.name]
        if is_integer(place.layer):
            return primitive.reference_int8(place.layer, inputs, tensors, codes)
        real = [x if c is None else dequantise(x, c) for x, c in zip(inputs, codes.inputs, strict=True)]
        return primitive.reference(place.layer, real, tensors)


def fold(network: Network, params: Mapping[str, np.ndarray]) -> FoldedNet:
    """The inference form of trained parameters, buffers and data constants keyed "<node>.<layer>.<parameter>"."""
    check_edges(network)
    tensors: dict[str, Mapping[str, np.ndarray]] = {}
    for place in places(network):
        primitive = primitive_of(place.layer.kind)
        layer = place.layer
        names = {**primitive.parameters(layer), **primitive.buffers(layer), **primitive.constants(layer)}
        mine = {}
        for name, shape in names.items():
            full = f"{place.name}.{name}"
            if full not in params:
                raise HwnasError(f"the network needs {full} {shape} and the parameters do not hold it")
            mine[name] = np.asarray(params[full], dtype=np.float32)
            if mine[name].shape != shape:
                raise HwnasError(f"{full} must be {shape}, got {mine[name].shape}")
            if not np.isfinite(mine[name]).all():
                raise HwnasError(f"{full} holds NaN or infinity", hint="training diverged: lower the learning rate")
        tensors[place.name] = primitive.fold(place.layer, mine)
    return FoldedNet(network, tensors)


def calibrate(
    folded: FoldedNet, images: Given, *, clip: ClipRule = "mse", weight_bits: int = 8, correct_bias: bool = True
) -> QuantisedNet:
    """The integer form of a folded network; images (N, C, H, W) float32 are typical inputs, a hundred or more, in an
    order of which every beginning is typical too (`hwnas.data.balanced`): the first 32 to 50 correct the biases.

    `clip` decides each tensor's range from what the images give it. `weight_bits=7` is for x86 without VNNI: its
    u8 x s8 multiply-add saturates at 16 bits when two products of 255 * 127 meet, and 7-bit weights cannot reach it
    (2 * 255 * 63 < 2^15). `correct_bias` takes the mean error that rounding the weights adds to each channel out of
    its bias (Nagel et al. 2019, arXiv:1906.04721).
    """
    if weight_bits not in (7, 8):
        raise HwnasError(f"weight_bits must be 7 or 8, got {weight_bits}")
    if not any(is_integer(place.layer) for place in places(folded.network)):
        return QuantisedNet(folded.network, folded.tensors, {})
    named = by_name(folded.network, images)
    for name, port in folded.network.inputs.items():
        if len(named[name]) == 0 or named[name].shape[1:] != port.shape:
            raise HwnasError(f"calibration needs images (N, {port.shape}), got {named[name].shape}")
    observer = Observer(clip)
    folded.run(named, lambda place, value: observer.see(place.name, place.layer, value))
    net = _with_codes(folded, observer.ranges(), weight_bits)
    most = max(CORRECTION, images_at_once(folded.network))
    some = {name: values[:most] for name, values in named.items()}
    return _corrected(folded, net, some) if correct_bias else net


def _with_codes(
    folded: FoldedNet, ranges: Mapping[str, tuple[float, float]], weight_bits: int, entry: Scale | None = None
) -> QuantisedNet:
    """Codes from ranges in order (a pool keeps its input's), then integer constants from the codes."""
    real = [name for name, port in folded.network.inputs.items() if port.dtype == "float32"]
    codes: dict[str, Scale] = {} if entry is None else dict.fromkeys(real, entry)
    tensors: dict[str, Mapping[str, np.ndarray]] = {}
    for place in places(folded.network):
        primitive = primitive_of(place.layer.kind)
        tensors[place.name] = folded.tensors[place.name]
        if not is_integer(place.layer):
            continue
        sources = tuple(codes.get(source) for source in place.inputs)
        codes[place.name] = primitive.output_code(place.layer, sources, *ranges[place.name])
        mine = Codes(sources, codes[place.name])
        tensors[place.name] = primitive.quantise(place.layer, folded.tensors[place.name], mine, weight_bits)
    return QuantisedNet(folded.network, tensors, codes)


def _corrected(folded: FoldedNet, net: QuantisedNet, images: Mapping[str, np.ndarray]) -> QuantisedNet:
    """Biases shifted so that, before its activation, every channel's mean is what float weights give on these inputs.

    Layer by layer on the quantised network's own activations: sum over inputs of (w - w_q) * E[x].
    """
    tensors = dict(net.tensors)
    inputs = {place.name: place for place in places(net.network) if "weight_scale" in net.tensors[place.name]}

    def layer(place: Place, given: list[np.ndarray]) -> np.ndarray:
        nonlocal net
        if place.name in inputs:
            tensors[place.name] = _shifted(folded, net, place, given[0])
            net = replace(net, tensors=tensors)
        return net._layer(place, given)

    _once(net.network, images, layer)
    return net


def _shifted(folded: FoldedNet, net: QuantisedNet, place: Place, x: np.ndarray) -> Mapping[str, np.ndarray]:
    tensors, codes = net.tensors[place.name], net.codes_of(place)
    weight = folded.tensors[place.name]["weight"]
    error = weight - weight_codec(place.layer).decode(tensors, weight.shape)
    channels = tensors["weight"].shape[0]
    lost = primitive_of(place.layer.kind).reference(
        replace(place.layer, activation="none"),
        [dequantise(x, codes.source)],
        {"weight": error, "bias": np.zeros(channels, np.float32)},
    )
    channel = 2 if lost.ndim == 3 else 1  # rows (N, T, O) have it last, images and vectors second
    mean = lost.mean(axis=tuple(i for i in range(lost.ndim) if i != channel), dtype=np.float64)
    unit = codes.source.value * tensors["weight_scale"]
    return dict(tensors, bias=(tensors["bias"] + np.rint(mean / unit)).astype(np.int32))


def random_net(network: Network, seed: int = 0, entry: Scale | None = None, weight_bits: int = 8) -> QuantisedNet:
    """The network with random constants and plausible codes: for measuring, where values do not matter but shapes do.

    `entry` is the code of the network's own inputs where they are uint8.
    """
    check_edges(network, entry is not None)
    rng = np.random.default_rng(seed)
    folded: dict[str, Mapping[str, np.ndarray]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for place in places(network):
        primitive = primitive_of(place.layer.kind)
        folded[place.name] = primitive.random(place.layer, rng)
        ranges[place.name] = primitive.output_range(place.layer)
    return _with_codes(FoldedNet(network, folded), ranges, weight_bits, entry)


def encode(images: np.ndarray, scale: Scale) -> np.ndarray:
    """Images as the uint8 input of a network that reads codes."""
    return quantise(images, scale)
