"""ONNX files of networks and of single blocks: opset 21, NCHW; one input is `input`, one output `output`, several keep
the names that the network gives them.

fp32 layers are plain operators, int8 layers are wrapped in QuantizeLinear / DequantizeLinear pairs that runtimes fuse,
1-bit convolutions are calls of the model-local function hwnas::BinaryConv. Equal networks give equal bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import HwnasError
from hwnas.export.quantise import QuantisedNet, output_layers, places, random_net
from hwnas.network import Network, Node, Operator, Port
from hwnas.ops import gives_codes, input_names, primitive_of, reads_codes, reads_pixels
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
    from hwnas.export.onnx_graph import End, Graph

    graph, network = Graph(), net.network
    called = {name: name if len(network.inputs) > 1 else "input" for name in network.inputs}
    values = dict(called)
    for place in places(network):
        primitive = primitive_of(place.layer.kind)
        sources = [values[source] for source in place.inputs]
        values[place.name] = primitive.lower(
            place.layer, place.name, sources, net.tensors[place.name], net.codes_of(place), graph
        )
    if not graph.nodes:
        raise HwnasError("a network without a layer cannot be exported")
    pixels = {node.inputs[0] for node in network if reads_pixels(node.operator)}
    inputs = [
        End(called[name], called[name], _type(port, name in net.codes or name in pixels), port)
        for name, port in network.inputs.items()
    ]
    integer, made = {node.name for node in network if gives_codes(node.operator)}, output_layers(network)
    outputs = []
    for name, node in network.gives.items():
        port = network.ports[node]
        shown = name if len(network.outputs) > 1 else "output"
        outputs.append(End(values[made[name]], shown, _type(port, node in integer), port))
    return graph.model(inputs, outputs, batch)


def _type(port: Port, is_bytes: bool) -> str:
    """The element type, as numpy names it, of what crosses the network's border."""
    return "uint8" if is_bytes else port.dtype


def block_net(operator: Operator, seed: int = 0) -> QuantisedNet:
    """One block with random constants; int8 blocks read and write uint8."""
    names = tuple(input_names(operator))
    network = Network(dict(zip(names, operator.inputs, strict=True)), (Node("block", operator, names),), ("block",))
    return random_net(network, seed, BLOCK_INPUT if reads_codes(operator) else None)


def block_model(operator: Operator, seed: int = 0) -> onnx.ModelProto:
    """The ONNX model of one block with random constants, batch 1: what a device measures."""
    return to_onnx(block_net(operator, seed))


def network_model(network: Network, seed: int = 0, weight_bits: int = 8) -> onnx.ModelProto:
    """The ONNX model of a whole network with random constants, batch 1: what an additive table is graded against."""
    return to_onnx(random_net(network, seed, weight_bits=weight_bits))


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write the model whole or not at all."""
    write_bytes(path, model.SerializeToString(deterministic=True))
