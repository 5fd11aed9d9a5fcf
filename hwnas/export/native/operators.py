"""Which operators and forms the native compiler reads: the one declaration behind docs/operators.md and the tests.

A form is one way to use an operator. `reads` is how it runs between DequantizeLinear and QuantizeLinear: "integer" by
a kernel over 8-bit codes, "float" between a dequantisation and a quantisation, "refused" with an error, "view" without
any step; outside such a pair everything runs in float32.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """One way to use an operator."""

    name: str
    text: str
    reads: str = "float"

    @property
    def supported(self) -> bool:
        return self.reads != "refused"


def _refused(name: str, text: str) -> Form:
    return Form(name, text, "refused")


_WINDOW = (
    Form("window", "kernel, strides, pads and dilations of any size; auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER"),
    _refused("ceil_mode", "ceil_mode=1 where it changes the output's size"),
)
_ACTIVATION = (Form("any", "over an image, a vector or a flattened image", "integer"),)
_SUM = (
    Form("equal", "two activations of one shape, uint8 on both sides and in the result", "integer"),
    Form("int8", "the same where one of the three is int8"),
    Form("channel", "a constant that numpy's rules broadcast to one number a channel, or to one number"),
    _refused("spatial", "a constant or activation that differs between the pixels of a channel, or enlarges the other"),
)

OPERATORS: dict[str, tuple[Form, ...]] = {
    "Add": (*_SUM, Form("vector", "an image and [1, C, 1, 1]")),
    "AveragePool": (*_WINDOW, Form("uint8", "uint8 codes on both sides", "integer")),
    "BinaryConv": (Form("any", "domain hwnas, any window and groups; runs on packed bits", "integer"),),
    "Clip": (
        Form("quantised", "any bounds, as attributes or constants", "integer"),
        Form("relu", "float between 0 and 6, or from 0 on"),
        _refused("float", "float with other bounds"),
    ),
    "Concat": (
        Form("channels", "along the channels of images or vectors, any number of scales", "integer"),
        _refused("axis", "along another axis"),
    ),
    "Conv": (
        Form("window", _WINDOW[0].text + "; group", "integer"),
        Form("bias", "an int32 bias with the scale s_x * s_w, with one of its own, or a float one", "integer"),
        Form("weights", "float weights; uint8 ones; zero points that are not 0"),
        _refused("dimensions", "one or three spatial dimensions"),
    ),
    "Dropout": (Form("inference", "training_mode absent or false, the mask unused", "view"),),
    "Flatten": (
        Form("batch", "to [1, C * H * W]", "view"),
        _refused("axis", "to any other shape"),
    ),
    "Gemm": (
        Form("plain", "a constant matrix, transB, any bias that broadcasts to [1, N]", "integer"),
        Form("scaled", "alpha and beta"),
        _refused("transA", "transA=1"),
    ),
    "GlobalAveragePool": (
        Form("same", "uint8 to uint8 or int8 to int8", "integer"),
        Form("mixed", "uint8 to int8 or back"),
    ),
    "HardSigmoid": (
        Form("quantised", "any alpha and beta", "integer"),
        Form("float", "float with alpha=1/6 and beta=0.5"),
        _refused("slope", "float with others"),
    ),
    "HardSwish": _ACTIVATION,
    "Identity": (Form("any", "of anything", "view"),),
    "LeakyRelu": _ACTIVATION,
    "MatMul": (Form("plain", "[1, K] times a constant matrix [K, N]", "integer"),),
    "MaxPool": (
        *_WINDOW,
        Form("same", "one scale before and after", "integer"),
    ),
    "Mul": (*_SUM, Form("vector", "an image and [1, C, 1, 1]", "integer")),
    "PRelu": (
        Form("channel", "a slope that broadcasts to one number a channel, or to one number"),
        _refused("spatial", "a slope that differs between the pixels of a channel"),
    ),
    "QuantizeLinear": (
        Form("tensor", "uint8 or int8 by zero point or output_dtype, one constant scale", "integer"),
        _refused("other", "16-bit and 4-bit types, float8, scales a channel or a block"),
    ),
    "DequantizeLinear": (
        Form("tensor", "of an activation: one scale, its own or the QuantizeLinear's", "integer"),
        Form("constant", "of int8, uint8 or int32 constants: one scale or one a channel, equal zero points", "integer"),
        _refused("other", "16-bit and 4-bit types, float8, a scale a block"),
    ),
    "Relu": _ACTIVATION,
    "Reshape": (
        Form("flatten", "to [1, -1], of an image or a vector, and back to the image's own shape", "view"),
        _refused("other", "to any other shape"),
    ),
    "Sigmoid": _ACTIVATION,
    "Softmax": (
        Form("channels", "over the channels of a vector, uint8 to uint8", "integer"),
        Form("float", "the same with int8 on one side; over the channels of every pixel"),
        _refused("axis", "over another axis, or over a flattened image"),
    ),
    "Squeeze": (
        Form("vector", "[1, C, 1, 1] to [1, C]", "view"),
        _refused("other", "to any other shape"),
    ),
    "Tanh": (
        Form("quantised", "of codes", "integer"),
        _refused("float", "of floats"),
    ),
}


def markdown() -> str:
    """The table of docs/operators.md."""
    rows = ["| operator | form | runs between DequantizeLinear and QuantizeLinear as |", "|---|---|---|"]
    for operator, forms in sorted(OPERATORS.items()):
        for form in forms:
            runs = {"integer": "integers", "float": "float32", "view": "nothing (a view)"}.get(
                form.reads, "**refused**"
            )
            rows.append(f"| {operator} | {form.text} | {runs} |")
    return "\n".join(rows) + "\n"
