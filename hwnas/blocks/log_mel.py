"""log_mel(frame, hop, rate): samples to log-mel bands (fp32), the front end of sound inside the model."""

from __future__ import annotations

from hwnas.errors import HwnasError
from hwnas.network import FULL_PRECISION, Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """(samples,) or (1, samples) -> (1, frames, bands); `frame` and `hop` in samples, `rate` in Hz."""
    shape, result = operator.input_shape, operator.output_shape
    frame, hop, rate = (operator[name] for name in ("frame", "hop", "rate"))
    if any(type(value) is not int or value < 1 for value in (frame, hop, rate)) or frame < 2:
        raise HwnasError(f"log_mel needs whole numbers above 0, frame above 1, got {frame=} {hop=} {rate=}")
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != 1) or shape[-1] < frame:
        raise HwnasError(f"log_mel takes (samples,) or (1, samples), {frame} at least, got {shape}")
    frames = (shape[-1] - frame) // hop + 1
    if len(result) != 3 or result[:2] != (1, frames) or result[2] < 1:
        raise HwnasError(f"log_mel {shape} must give (1, {frames}, bands), got {result}")
    if operator.precision != FULL_PRECISION:
        raise HwnasError(
            f"log_mel gives {FULL_PRECISION}, not {operator.precision}: powers span more than 8 bits do",
            hint="put a convert after it",
        )
    return (Layer("bands", "log_mel", ("input",), shape, result, attributes=operator.attributes),)
