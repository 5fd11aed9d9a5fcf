"""Fold, calibrate, run: trained parameters to the integer network that is shipped, and its exact reference.

    fold(network, params)            batch norm into weights; 1-bit weights packed        -> FoldedNet
    calibrate(folded, images)        a code for every int8 tensor, integers for weights  -> QuantisedNet
    QuantisedNet(images)             what the exported files must compute

int8 convolutions, dense layers, sums, products and pools follow ONNX Runtime's integer arithmetic bit for bit
(`hwnas/ops/<kind>.py: reference_int8`), and 1-bit convolutions are exact by nature. Only fp32 sums depend on the
order in which they are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.ranges import ClipRule, Observer
from hwnas.network import Layer, Network, elements
from hwnas.ops import primitive_of
from hwnas.ops.numeric.scales import Scale, dequantise, quantise
from hwnas.ops.primitive import Codes

Tensors = Mapping[str, Mapping[str, np.ndarray]]
BATCH = 50  # images run at once where they are small
VALUES = 1 << 24  # of a layer's largest tensor at once, where they are not: 64 MiB, of which a layer holds a few
CORRECTION = 32  # images whose mean error corrects the biases, at least


@dataclass(frozen=True)
class Place:
    """A layer with its full name and the full names it reads; "input" is the network's own input."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


def places(network: Network) -> Iterator[Place]:
    """Every layer of the network in the order it runs."""
    previous = "input"
    for node in network:
        layers = node.operator.layers
        for layer in layers:
            sources = tuple(previous if source == "input" else f"{node.name}.{source}" for source in layer.inputs)
            yield Place(f"{node.name}.{layer.name}", layer, sources)
        previous = f"{node.name}.{layers[-1].name}"


def check_chain(network: Network, reads_codes: bool = False) -> None:
    """HwnasError unless every block reads the shape and the precision its predecessor gives, and all are hard.

    `reads_codes` says that the network's own input is uint8.
    """
    shape, integer = network.input_shape, reads_codes
    for node in network:
        operator = node.operator
        if operator.input_shape != shape:
            raise HwnasError(f"{node.name} reads {operator.input_shape} but is given {shape}")
        if not isinstance(node.probability, int | float):
            raise HwnasError(f"{node.name} is a soft mixture; only a hard architecture can be exported")
        first = operator.layers[0]
        wants = first.kind == "dequantize" or (operator.precision == "int8" and first.kind != "quantize")
        if wants != integer:
            raise HwnasError(
                f"{node.name} reads {'uint8' if wants else 'float32'} but is given {'uint8' if integer else 'float32'}",
                hint="put a convert operator between blocks of different precision",
            )
        shape, integer = operator.output_shape, operator.precision == "int8"


def images_at_once(network: Network) -> int:
    """How many images run together: a batch of them stays within some hundreds of megabytes at any resolution."""
    largest = max(elements(place.layer.out_shape) for place in places(network))
    return max(1, min(BATCH, VALUES // max(largest, elements(network.input_shape))))


@dataclass(frozen=True)
class FoldedNet:
    """A network with float constants: what inference needs, batch norm folded away. Keys of `tensors` are layers."""

    network: Network
    tensors: Tensors

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """float32 outputs of float32 images (N, C, H, W), int8 layers run in float."""
        return self.run(images, lambda place, value: None)

    def run(self, images: np.ndarray, watch: Callable[[Place, np.ndarray], None]) -> np.ndarray:
        """As `()`, showing `watch` every layer's output."""
        parts, step = [], images_at_once(self.network)
        for start in range(0, len(images), step):
            values = {"input": np.ascontiguousarray(images[start : start + step], dtype=np.float32)}
            plan = list(places(self.network))
            for i, place in enumerate(plan):
                inputs = [values[source] for source in place.inputs]
                values[place.name] = primitive_of(place.layer.kind).reference(
                    place.layer, inputs, self.tensors[place.name]
                )
                watch(place, values[place.name])
                _forget(values, plan[i + 1 :])
            parts.append(values[plan[-1].name])
        return np.concatenate(parts)


@dataclass(frozen=True)
class QuantisedNet:
    """A network with the constants it ships with, and the uint8 code of every int8 tensor, by full layer name.

    `codes` holds "input" only where the network itself reads uint8 (a single block being measured).
    """

    network: Network
    tensors: Tensors
    codes: Mapping[str, Scale]

    def codes_of(self, place: Place) -> Codes:
        """The codes of a layer's inputs and output."""
        return Codes(tuple(self.codes.get(source) for source in place.inputs), self.codes.get(place.name))

    @property
    def ends_in_integers(self) -> bool:
        """Whether the last arithmetic is int8, so that equal files give equal bits."""
        layers = [place.layer for place in places(self.network)]
        last = layers[-2] if layers[-1].kind == "dequantize" and len(layers) > 1 else layers[-1]
        return last.precision == "int8"

    @property
    def is_exact(self) -> bool:
        """Whether nothing but integer arithmetic and single float roundings lies between input and output."""
        sums = ("conv", "dense", "global_pool", "avg_pool")
        return all(place.layer.precision == "int8" or place.layer.kind not in sums for place in places(self.network))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Outputs (N, ...) of images (N, C, H, W): float32 in and out unless the network's ends are uint8.

        Where preprocessing is inside, images are raw uint8 (N, H, W, C).
        """
        step = images_at_once(self.network)
        parts = [self._batch(images[start : start + step]) for start in range(0, len(images), step)]
        return np.concatenate(parts)

    def _batch(self, images: np.ndarray) -> np.ndarray:
        values = {"input": images if "input" in self.codes else np.asarray(images, dtype=np.float32)}
        plan = list(places(self.network))
        for i, place in enumerate(plan):
            values[place.name] = self._layer(place, [values[source] for source in place.inputs])
            _forget(values, plan[i + 1 :])
        return values[plan[-1].name]

    def _layer(self, place: Place, inputs: Sequence[np.ndarray]) -> np.ndarray:
        primitive, codes, tensors = primitive_of(place.layer.kind), self.codes_of(place), self.tensors[place.name]
        if place.layer.precision == "int8":
            return primitive.reference_int8(place.layer, inputs, tensors, codes)
        real = [x if c is None else dequantise(x, c) for x, c in zip(inputs, codes.inputs, strict=True)]
        return primitive.reference(place.layer, real, tensors)


def _forget(values: dict[str, np.ndarray], rest: Sequence[Place]) -> None:
    """Drop what no later layer reads, except the newest value."""
    needed = {source for place in rest for source in place.inputs}
    newest = next(reversed(values))
    for name in [name for name in values if name not in needed and name != newest]:
        del values[name]


def fold(network: Network, params: Mapping[str, np.ndarray]) -> FoldedNet:
    """The inference form of trained parameters, buffers and data constants keyed "<node>.<layer>.<parameter>"."""
    check_chain(network)
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
    folded: FoldedNet, images: np.ndarray, *, clip: ClipRule = "mse", weight_bits: int = 8, correct_bias: bool = True
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
    if not any(place.layer.precision == "int8" for place in places(folded.network)):
        return QuantisedNet(folded.network, folded.tensors, {})
    if len(images) == 0 or images.shape[1:] != folded.network.input_shape:
        raise HwnasError(f"calibration needs images (N, {folded.network.input_shape}), got {images.shape}")
    observer = Observer(clip)
    folded.run(images, lambda place, value: observer.see(place.name, place.layer, value))
    net = _with_codes(folded, observer.ranges(), weight_bits)
    some = images[: max(CORRECTION, images_at_once(folded.network))]
    return _corrected(folded, net, some) if correct_bias else net


def _with_codes(
    folded: FoldedNet, ranges: Mapping[str, tuple[float, float]], weight_bits: int, entry: Scale | None = None
) -> QuantisedNet:
    """Codes from ranges in order (a pool keeps its input's), then integer constants from the codes."""
    codes: dict[str, Scale] = {} if entry is None else {"input": entry}
    tensors: dict[str, Mapping[str, np.ndarray]] = {}
    for place in places(folded.network):
        primitive = primitive_of(place.layer.kind)
        tensors[place.name] = folded.tensors[place.name]
        if place.layer.precision != "int8":
            continue
        sources = tuple(codes.get(source) for source in place.inputs)
        codes[place.name] = primitive.output_code(place.layer, sources, *ranges[place.name])
        mine = Codes(sources, codes[place.name])
        tensors[place.name] = primitive.quantise(place.layer, folded.tensors[place.name], mine, weight_bits)
    return QuantisedNet(folded.network, tensors, codes)


def _corrected(folded: FoldedNet, net: QuantisedNet, images: np.ndarray) -> QuantisedNet:
    """Biases shifted so that, before its activation, every channel's mean is what float weights give on these inputs.

    Layer by layer on the quantised network's own activations: sum over inputs of (w - w_q) * E[x].
    """
    tensors = dict(net.tensors)
    inputs = {place.name: place for place in places(net.network) if "weight_scale" in net.tensors[place.name]}
    values: dict[str, np.ndarray] = {"input": np.asarray(images, dtype=np.float32)}
    plan = list(places(net.network))
    for i, place in enumerate(plan):
        if place.name in inputs:
            tensors[place.name] = _shifted(folded, net, place, values[place.inputs[0]])
            net = replace(net, tensors=tensors)
        values[place.name] = net._layer(place, [values[source] for source in place.inputs])
        _forget(values, plan[i + 1 :])
    return net


def _shifted(folded: FoldedNet, net: QuantisedNet, place: Place, x: np.ndarray) -> Mapping[str, np.ndarray]:
    tensors, codes = net.tensors[place.name], net.codes_of(place)
    scales = tensors["weight_scale"].reshape(-1, *[1] * (tensors["weight"].ndim - 1))
    error = folded.tensors[place.name]["weight"] - tensors["weight"].astype(np.float32) * scales
    channels = tensors["weight"].shape[0]
    lost = primitive_of(place.layer.kind).reference(
        replace(place.layer, activation="none"),
        [dequantise(x, codes.source)],
        {"weight": error, "bias": np.zeros(channels, np.float32)},
    )
    mean = lost.mean(axis=(0, *range(2, lost.ndim)), dtype=np.float64)
    unit = codes.source.value * tensors["weight_scale"]
    return dict(tensors, bias=(tensors["bias"] + np.rint(mean / unit)).astype(np.int32))


def random_net(network: Network, seed: int = 0, entry: Scale | None = None, weight_bits: int = 8) -> QuantisedNet:
    """The network with random constants and plausible codes: for measuring, where values do not matter but shapes do.

    `entry` is the code of the network's own input where that is uint8.
    """
    check_chain(network, entry is not None)
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
