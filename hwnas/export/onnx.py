"""ONNX files of networks and of single blocks: opset 21, input `input`, output `output`, NCHW.

fp32 layers are plain operators, int8 layers are wrapped in QuantizeLinear / DequantizeLinear pairs that runtimes fuse,
1-bit convolutions are calls of the model-local function hwnas::BinaryConv. Equal networks give equal bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import HwnasError
from hwnas.export.quantise import QuantisedNet, places, random_net
from hwnas.network import Network, Node, Operator
from hwnas.ops import primitive_of, reads_pixels
from hwnas.ops.numeric.scales import Scale
from hwnas.paths import write_bytes

if TYPE_CHECKING:
    import onnx

# A block that reads uint8 is measured on codes of roughly standard normal values after some activation.
BLOCK_INPUT = Scale.of_range(-2.0, 6.0)


def to_onnx(net: QuantisedNet, batch: int | None = 1) -> onnx.ModelProto:
    """The network as a model; `batch` is the fixed batch size, None leaves that axis open.

    Batch 1 is the default: it is what latency is measured at and what the native compiler accepts.
    """
    from hwnas.export.onnx_graph import FLOAT, UINT8, Graph

    graph = Graph()
    values = {"input": "input"}
    last = "input"
    for place in places(net.network):
        primitive = primitive_of(place.layer.kind)
        sources = [values[source] for source in place.inputs]
        last = primitive.lower(place.layer, place.name, sources, net.tensors[place.name], net.codes_of(place), graph)
        values[place.name] = last
    if not graph.nodes:
        raise HwnasError("a network without a layer cannot be exported")
    final = net.network.nodes[-1].operator
    bytes_in = "input" in net.codes or reads_pixels(net.network.nodes[0].operator)
    kinds = (UINT8 if bytes_in else FLOAT, UINT8 if final.precision == "int8" else FLOAT)
    return graph.model("input", last, (net.network.input_shape, final.output_shape), kinds, batch)


def block_net(operator: Operator, seed: int = 0) -> QuantisedNet:
    """One block with random constants; int8 blocks read and write uint8."""
    network = Network((Node("block", operator),), operator.input_shape, operator.input_shape[-1])
    first = operator.layers[0].kind
    reads_codes = first == "dequantize" or (operator.precision == "int8" and first != "quantize")
    return random_net(network, seed, BLOCK_INPUT if reads_codes else None)


def block_model(operator: Operator, seed: int = 0) -> onnx.ModelProto:
    """The ONNX model of one block with random constants, batch 1: what a device measures."""
    return to_onnx(block_net(operator, seed))


def network_model(network: Network, seed: int = 0, weight_bits: int = 8) -> onnx.ModelProto:
    """The ONNX model of a whole network with random constants, batch 1: what an additive table is graded against."""
    return to_onnx(random_net(network, seed, weight_bits=weight_bits))


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write the model whole or not at all."""
    write_bytes(path, model.SerializeToString(deterministic=True))
