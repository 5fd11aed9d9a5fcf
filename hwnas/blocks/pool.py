"""pool(kernel, stride, mode[, padding]): max or average pooling (fp32 or int8); no mean counts the border."""

from __future__ import annotations

from hwnas.blocks.shapes import refuse_signs, require_output
from hwnas.errors import HwnasError
from hwnas.network import Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(C, H, W) -> (C, (H + 2 * padding - kernel) // stride + 1, the same of W)."""
    kernel, stride, mode = operator["kernel"], operator["stride"], operator["mode"]
    padding = dict(operator.attributes).get("padding", 0)
    refuse_signs(operator)
    if mode not in ("max", "average"):
        raise HwnasError(f"pool mode must be max or average, got {mode!r}")
    if type(padding) is not int or not 0 <= padding < kernel or (padding and mode == "max"):
        raise HwnasError(f"pool takes a padding below its kernel, and none for max, got {padding!r}")
    if len(operator.input_shape) != 3 or min(operator.input_shape[1:]) + 2 * padding < kernel:
        raise HwnasError(f"pool {kernel} x {kernel} does not fit {operator.input_shape}")
    channels, height, width = operator.input_shape
    out_shape = (channels, (height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1)
    require_output(operator, out_shape)
    kind = "max_pool" if mode == "max" else "avg_pool"
    border = (("padding", padding),) if padding else ()
    return (
        Layer(
            "pool", kind, ("input",), operator.input_shape, out_shape, operator.precision, kernel, stride,
            attributes=border,
        ),
    )  # fmt: skip
