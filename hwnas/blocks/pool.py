"""pool(kernel, stride, mode): unpadded max or average pooling (fp32 or int8)."""

from __future__ import annotations

from hwnas.blocks.shapes import refuse_signs, require_output
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (C, (H - kernel) // stride + 1, (W - kernel) // stride + 1)."""
    kernel, stride, mode = operator["kernel"], operator["stride"], operator["mode"]
    refuse_signs(operator)
    if mode not in ("max", "average"):
        raise HwnasError(f"pool mode must be max or average, got {mode!r}")
    if len(operator.input_shape) != 3 or min(operator.input_shape[1:]) < kernel:
        raise HwnasError(f"pool {kernel} x {kernel} does not fit {operator.input_shape}")
    channels, height, width = operator.input_shape
    out_shape = (channels, (height - kernel) // stride + 1, (width - kernel) // stride + 1)
    require_output(operator, out_shape)
    kind = "max_pool" if mode == "max" else "avg_pool"
    return (Layer("pool", kind, ("input",), operator.input_shape, out_shape, operator.precision, kernel, stride),)
