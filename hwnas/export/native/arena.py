"""The memory a compiled program will ask for: planned exactly for one network, bounded from below block by block.

The plan is that of `compile_onnx`, on random weights and without compiling, so what a search prices is what the
artefact will need. The bound is what a search over millions of architectures can afford: it counts the buffers of one
kernel.
"""

from __future__ import annotations

from hwnas.export.native.compile import plan_model
from hwnas.export.native.planner import round_up
from hwnas.export.native.program import SLACK, Program
from hwnas.network import Layer, Network, Operator, Shape
from hwnas.ops.primitive import is_integer, output_bytes


def planned(network: Network, target: str) -> Program:
    """The network's program for a kernel target: its arena, and constants of the right sizes. HwnasError where it does
    not compile."""
    from hwnas.export.onnx import network_model
    from hwnas.kernels.target import parse_target

    program, _ = plan_model(network_model(network), parse_target(target))
    return program


def constant_bytes(program: Program) -> int:
    """Bytes of the constants where no two of them are equal: what a trained network of this shape holds at most.

    A program keeps equal constants once, and random ones are equal more often (scales of layers of one shape).
    """
    end = len(program.constants) - SLACK
    used = [offset for call in program.calls for place, offset in call.pointers if place == "constants"]
    starts = sorted(set(used))
    size = dict(
        zip(starts, (stop - start for start, stop in zip(starts, [*starts[1:], end], strict=True)), strict=True)
    )
    return sum(size[offset] for offset in used) + SLACK


def arena_bound(operator: Operator, image_channels: int) -> int:
    """Bytes that the arena of every network with this operator has at least.

    While a kernel runs, what it reads and what it writes both stand in the arena, whatever else does. Not counted is
    what may not be there: the network's own input, which the caller holds (blocks that read `image_channels`), the
    float stream that a 1-bit convolution need not write, and outputs of layers that fuse into others.
    """
    outer = operator.input_shape[0] == image_channels
    return max(_kernel_bytes(layer, outer and "input" in layer.inputs) for layer in operator.layers)


def _kernel_bytes(layer: Layer, reads_image: bool) -> int:
    if layer.kind == "conv":
        return output_bytes(layer) + (0 if reads_image else _read_bytes(layer))
    if layer.kind == "binary_conv":
        return _bits_bytes(layer.out_shape) + (0 if reads_image else _bits_bytes(_window(layer)))
    if layer.kind == "add":  # in the epilogue of a convolution only one of the two is read from memory
        return output_bytes(layer) * (1 if reads_image else 2)
    return 0


def _read_bytes(layer: Layer) -> int:
    """A convolution's input with its halo; dense int8 kernels read channels by fours."""
    channels, height, width = _window(layer)
    if not is_integer(layer):
        return 4 * channels * height * width
    return (round_up(channels, 4) if layer.groups == 1 else channels) * height * width


def _window(layer: Layer) -> Shape:
    """The input with as much padding as the windows reach."""
    pad = layer.kernel // 2
    spans = [(out - 1) * layer.stride + layer.kernel - pad for out in layer.out_shape[1:]]
    return (
        layer.in_shape[0],
        *(pad + max(extent, span) for extent, span in zip(layer.in_shape[1:], spans, strict=True)),
    )


def _bits_bytes(shape: Shape) -> int:
    """uint32 words along channels."""
    return 4 * -(-shape[0] // 32) * shape[1] * shape[2]
