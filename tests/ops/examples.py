"""Layers and blocks that between them use every primitive: shapes odd and even, groups, borders, channels off 8."""

from __future__ import annotations

from hwnas.network import Layer, Operator, Port

LAYERS = (
    Layer("conv", "conv", ("input",), (6, 9, 7), (10, 5, 4), "fp32", kernel=3, stride=2, activation="relu"),
    Layer("grouped", "conv", ("input",), (12, 8, 8), (8, 8, 8), "fp32", kernel=3, groups=4),
    Layer("depthwise", "conv", ("input",), (9, 8, 8), (9, 8, 8), "fp32", kernel=5, groups=9),
    Layer("binary", "binary_conv", ("input",), (20, 8, 7), (12, 8, 7), "w1a1", kernel=3),
    Layer("binary_grouped", "binary_conv", ("input",), (24, 6, 6), (8, 3, 3), "w1a1", kernel=3, stride=2, groups=2),
    Layer("prelu", "prelu", ("input",), (5, 4, 4), (5, 4, 4)),
    Layer("hswish", "hswish", ("input",), (5, 4, 4), (5, 4, 4)),
    Layer("hard_sigmoid", "hard_sigmoid", ("input",), (5, 1, 1), (5, 1, 1)),
    Layer("add", "add", ("a", "b"), (5, 9, 7), (5, 9, 7), activation="relu"),
    Layer("mul", "mul", ("a", "b"), (5, 6, 6), (5, 6, 6), more_shapes=((5, 1, 1),)),  # the second is a gate
    Layer("avg_pool", "avg_pool", ("input",), (5, 6, 8), (5, 3, 4), kernel=2, stride=2),
    Layer("bordered", "avg_pool", ("input",), (5, 6, 8), (5, 6, 8), kernel=3, attributes=(("padding", 1),)),
    Layer("plain_norm", "conv", ("input",), (6, 8, 8), (6, 8, 8), kernel=3, attributes=(("affine", False),)),
    Layer("relu", "relu", ("input",), (5, 6, 8), (5, 6, 8)),
    Layer("zero", "zero", ("input",), (5, 6, 8), (5, 6, 8)),
    Layer("max_pool", "max_pool", ("input",), (5, 7, 7), (5, 3, 3), kernel=3, stride=2),
    Layer("resize_unevenly", "resize", ("input",), (3, 6, 7), (3, 9, 5)),
    Layer("global_pool", "global_pool", ("input",), (5, 7, 6), (5, 1, 1)),
    Layer("dense", "dense", ("input",), (17, 1, 1), (10,)),
    Layer("dense_image", "dense", ("input",), (17, 1, 1), (9, 1, 1), activation="relu"),
    Layer("dense_rows", "dense", ("input",), (6, 17), (6, 10)),
    Layer("embedding", "embedding", ("input",), (7,), (7, 12), attributes=(("vocabulary", 30),)),
    Layer("padding", "padding", ("input",), (7,), (1, 1, 7), attributes=(("vocabulary", 5),)),
    Layer("reshape", "reshape", ("input",), (1, 12), (12,)),
    Layer("layer_norm", "layer_norm", ("input",), (6, 20), (6, 20)),
    Layer("gelu", "gelu", ("input",), (6, 20), (6, 20)),
    Layer("softmax", "softmax", ("input",), (3, 6, 9), (3, 6, 9), attributes=(("scale", 0.35),)),
    Layer("split", "heads", ("input",), (6, 12), (3, 6, 4)),
    Layer("merge", "heads", ("input",), (3, 6, 4), (6, 12)),
    Layer("mixed", "matmul", ("a", "b"), (3, 6, 9), (3, 6, 4), more_shapes=((3, 9, 4),)),
    Layer(
        "scores",
        "matmul",
        ("a", "b"),
        (3, 6, 4),
        (3, 6, 5),
        attributes=(("transpose", True),),
        more_shapes=((3, 5, 4),),
    ),
    Layer("sound", "log_mel", ("input",), (400,), (1, 11, 8), attributes=(("frame", 64), ("hop", 32), ("rate", 8000))),
    Layer("grown", "resize", ("input",), (5, 4, 6), (5, 9, 7), attributes=(("mode", "nearest"),)),
    Layer("smooth", "resize", ("input",), (5, 4, 6), (5, 8, 9), attributes=(("mode", "linear"),)),
    Layer("quantize", "quantize", ("input",), (3, 5, 5), (3, 5, 5), "int8"),
    Layer("dequantize", "dequantize", ("input",), (3, 5, 5), (3, 5, 5), "fp32"),
)
# reads raw pixels (H, W, C): tests/native/test_raw_images.py holds it to torch, ONNX Runtime and the kernel
PIXELS = Layer("pixels", "preprocess", ("input",), (9, 7, 3), (3, 6, 8))
FLOAT_ONLY = ("binary_conv", "prelu", "quantize", "dequantize", "embedding", "layer_norm", "log_mel", "padding")

TOKENS = Port((5,), "int64")


def blocks() -> list[Operator]:
    """Every kind of block at every precision it has."""
    found: list[Operator] = []
    make = Operator.of
    for precision in ("fp32", "int8", "w1a1"):
        for stride, out in ((1, (16, 10, 10)), (2, (24, 5, 5))):
            found.append(make("bireal", (16, 10, 10), out, precision, kernel=3, stride=stride))
            for activation, se in (("relu", False), ("hswish", True)):
                attributes = {"kernel": 3, "stride": stride, "activation": activation}
                found.append(make("conv_bn_act", (16, 10, 10), out, precision, **attributes))
                found.append(make("inverted_residual", (16, 10, 10), out, precision, expansion=3, se=se, **attributes))
        found.append(make("bireal", (16, 9, 10), (16, 5, 5), precision, kernel=3, stride=2))
        found.append(make("inverted_residual", (16, 6, 6), (16, 6, 6), precision, kernel=5, stride=1, expansion=1,
                          se=False, activation="relu"))  # fmt: skip
        if precision != "w1a1":
            found.append(make("depthwise_separable", (8, 7, 10), (12, 4, 5), precision, kernel=5, stride=2))
            found.append(make("pool_dense", (16, 5, 5), (10,), precision, classes=10))
            found.append(make("convert", (16, 5, 5), (16, 5, 5), precision))
            found.append(make("convert", (10,), (10,), precision))
            found.append(make("relu_conv_bn", (8, 6, 6), (12, 3, 3), precision, kernel=3, stride=2))
            found.append(make("relu_conv_bn", (8, 6, 6), (8, 6, 6), precision, kernel=1, stride=1, affine=False))
            found.append(make("pool", (8, 6, 6), (8, 6, 6), precision, kernel=3, stride=1, mode="average", padding=1))
            found.append(make("resize", (8, 3, 4), (8, 12, 16), precision))
            found.append(make("upsample", (8, 3, 4), (4, 6, 8), precision, affine=False))
            found.append(make("sum", ((8, 6, 6),) * 3, (8, 6, 6), precision))
            found += [make(kind, (8, 6, 6), (8, 6, 6), precision) for kind in ("relu", "zero")]
            found.append(make("dense_rows", (5, 12), (5, 8), precision))
            for norm in ("pre", "post"):
                found.append(make("encoder_mlp", (5, 12), (5, 12), precision, hidden=20, norm=norm))
                found.append(make("encoder_attention", ((5, 12), TOKENS), (5, 12), precision, heads=3, norm=norm,
                                  vocabulary=9))  # fmt: skip
            for mode in ("max", "average"):
                found.append(make("pool", (16, 7, 6), (16, 3, 3), precision, kernel=2, stride=2, mode=mode))
    found.append(make("log_mel", (1, 400), (1, 11, 8), frame=64, hop=32, rate=8000))
    found.append(make("token_embedding", TOKENS, (5, 12), vocabulary=9))
    found.append(make("token_classifier", ((5, 12), TOKENS), (3,), classes=3, vocabulary=9))
    return found
