"""Shape rules and layer chains that several blocks share."""

from __future__ import annotations

from hwnas import formats
from hwnas.errors import HwnasError
from hwnas.network import FULL_PRECISION, Layer, Operator, Precision, Shape


def strided(extent: int, stride: int) -> int:
    """Output extent of an odd kernel with padding kernel // 2: the input extent divided by the stride, rounded up."""
    return -(-extent // stride)


def spatial(shape: Shape, channels: int, stride: int) -> Shape:
    """(channels, H, W) after a padded odd kernel with this stride over `shape` (C, H, W)."""
    return (channels, strided(shape[1], stride), strided(shape[2], stride))


def require_output(operator: Operator, expected: Shape) -> None:
    """HwnasError unless the operator's stated output shape is the one its attributes give."""
    if operator.output_shape != expected:
        raise HwnasError(f"{operator.kind} {operator.input_shape} must give {expected}, got {operator.output_shape}")


def require_image(operator: Operator) -> None:
    """HwnasError unless the input is (channels, height, width), the kernel odd and the stride at least 1."""
    if len(operator.input_shape) != 3 or min(operator.input_shape) < 1:
        raise HwnasError(f"{operator.kind} takes (channels, height, width), got {operator.input_shape}")
    for name in ("kernel", "stride"):
        if type(operator[name]) is not int:
            raise HwnasError(f"{operator.kind} needs a whole {name}, got {operator[name]!r}")
    if operator["kernel"] % 2 == 0 or operator["kernel"] < 1:
        raise HwnasError(f"{operator.kind} needs an odd kernel, got {operator['kernel']}")
    if operator["stride"] < 1:
        raise HwnasError(f"{operator.kind} needs a stride of at least 1, got {operator['stride']}")


def signs(precision: Precision) -> bool:
    """Whether convolutions of this format multiply signs."""
    return formats.of(precision).arithmetic == "signs"


def stream_of(precision: Precision) -> Precision:
    """The format of a block's layers that are no convolutions: beside 1-bit ones they stay float."""
    return FULL_PRECISION if signs(precision) else precision


def refuse_signs(operator: Operator, hint: str | None = None) -> None:
    """HwnasError where the block is asked for in a 1-bit format, which has convolutions alone."""
    if signs(operator.precision):
        raise HwnasError(f"{operator.kind} is fp32 or int8, not {operator.precision}", hint=hint)


def convolution(
    name: str,
    source: str,
    in_shape: Shape,
    channels: int,
    precision: Precision,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: str = "none",
) -> tuple[Layer, ...]:
    """conv + BN + activation as layers; the last one is the output.

    Relu is part of the convolution. h-swish is a layer of its own (`<name>_act`), because INT8 needs the range of the
    convolution's result before it. A 1-bit convolution is followed by PReLU whatever the activation is called:
    relu would leave nothing below a threshold of zero, and so nothing for the next sign to tell apart.
    """
    if activation not in ("none", "relu", "hswish"):
        raise HwnasError(f"activation must be none, relu or hswish, got {activation!r}")
    out_shape = spatial(in_shape, channels, stride)
    binary = signs(precision)
    kind = "binary_conv" if binary else "conv"
    fused = "relu" if activation == "relu" and not binary else "none"
    conv = Layer(name, kind, (source,), in_shape, out_shape, precision, kernel, stride, groups, fused)
    if activation == "none" or fused == "relu":
        return (conv,)
    if binary:
        return conv, Layer(f"{name}_act", "prelu", (name,), out_shape, out_shape)
    return conv, Layer(f"{name}_act", "hswish", (name,), out_shape, out_shape, precision)


def squeeze_excite(source: str, shape: Shape, precision: Precision) -> tuple[Layer, ...]:
    """Global pool, reduce to a quarter (a multiple of 8), relu, expand, hard sigmoid, multiply (MobileNetV3)."""
    channels = shape[0]
    hidden = max(8, (channels // 4 + 7) // 8 * 8)
    pooled, squeezed = (channels, 1, 1), (hidden, 1, 1)
    return (
        Layer("se_pool", "global_pool", (source,), shape, pooled, precision),
        Layer("se_reduce", "dense", ("se_pool",), pooled, squeezed, precision, activation="relu"),
        Layer("se_expand", "dense", ("se_reduce",), squeezed, pooled, precision),
        Layer("se_gate", "hard_sigmoid", ("se_expand",), pooled, pooled, precision),
        Layer("se_scale", "mul", (source, "se_gate"), shape, shape, precision),
    )


def require_rows(operator: Operator) -> tuple[int, int]:
    """(T, D) of a block's first input; HwnasError unless it is such rows."""
    shape = operator.input_shape
    if len(shape) != 2 or min(shape) < 1:
        raise HwnasError(f"{operator.kind} takes rows (tokens, width), got {shape}")
    return shape[0], shape[1]


def require_tokens(operator: Operator, which: int) -> int:
    """T of input `which`; HwnasError unless it holds T tokens, int64, and the block has a vocabulary."""
    port = operator.inputs[which] if which < len(operator.inputs) else None
    if port is None or port.dtype != "int64" or len(port.shape) != 1 or len(operator.inputs) != which + 1:
        raise HwnasError(f"{operator.kind} reads tokens, int64 (T,), as its input {which + 1}, got {operator}"[:300])
    if type(operator["vocabulary"]) is not int or operator["vocabulary"] < 1:
        raise HwnasError(f"{operator.kind} needs a vocabulary of at least 1, got {operator['vocabulary']!r}")
    return port.shape[0]


def norm_first(operator: Operator) -> bool:
    """Whether a residual block normalises what its branch reads ("pre"), not the sum ("post")."""
    if operator["norm"] not in ("pre", "post"):
        raise HwnasError(f"norm must be pre or post, got {operator['norm']!r}")
    return bool(operator["norm"] == "pre")


def layer_norm(name: str, source: str, rows: Shape, precision: Precision) -> tuple[Layer, ...]:
    """LayerNorm of rows, which is float: between codes it is dequantised and quantised again."""
    if formats.of(precision).arithmetic != "integer":
        return (Layer(name, "layer_norm", (source,), rows, rows),)
    return (
        Layer(f"{name}_in", "dequantize", (source,), rows, rows),
        Layer(f"{name}_real", "layer_norm", (f"{name}_in",), rows, rows),
        Layer(name, "quantize", (f"{name}_real",), rows, rows, precision),
    )
