"""pool_dense(classes): global average pooling and a dense layer, the network's head (fp32 or int8)."""

from __future__ import annotations

from hwnas.blocks.shapes import refuse_signs, require_output
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (classes,)."""
    refuse_signs(operator, hint="a 1-bit network keeps its head in fp32")
    if len(operator.input_shape) != 3:
        raise HwnasError(f"pool_dense takes (channels, height, width), got {operator.input_shape}")
    classes = int(operator["classes"])
    require_output(operator, (classes,))
    pooled = (operator.input_shape[0], 1, 1)
    return (
        Layer("pool", "global_pool", ("input",), operator.input_shape, pooled, operator.precision),
        Layer("dense", "dense", ("pool",), pooled, (classes,), operator.precision),
    )
