"""token_embedding(vocabulary): tokens to learnt rows, plus a learnt row for each place (fp32)."""

from __future__ import annotations

from hwnas.blocks.shapes import require_output, require_tokens
from hwnas.errors import HwnasError
from hwnas.network import FULL_PRECISION, Layer, Operator


def layers(operator: Operator) -> tuple[Layer, ...]:
    """int64 (T,) -> (T, D)."""
    length = require_tokens(operator, 0)
    require_output(operator, (length, operator.output_shape[-1]))
    if operator.precision != FULL_PRECISION:
        raise HwnasError(
            f"token_embedding gives {FULL_PRECISION}, got {operator.precision}", hint="put a convert after"
        )
    attributes = (("vocabulary", operator["vocabulary"]),)
    return (Layer("embedding", "embedding", ("input",), (length,), operator.output_shape, attributes=attributes),)
