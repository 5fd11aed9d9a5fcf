"""Blocks as a whole: shapes, gradients, batch statistics, costs on paper."""

from __future__ import annotations

import pytest

from hwnas import ops
from hwnas.errors import HwnasError
from hwnas.network import Operator
from hwnas.testing import contract
from tests.ops.examples import blocks

test_every_block = contract("block", *blocks())


def test_costs_on_paper_match_a_count_by_hand() -> None:
    conv = Operator.of("conv_bn_act", (3, 8, 8), (16, 4, 4), "fp32", kernel=3, stride=2, activation="relu")
    assert ops.macs(conv) == 16 * 4 * 4 * 3 * 9
    assert ops.parameter_count(conv) == 16 * 27 + 2 * 16
    assert ops.weight_bytes(conv) == 4 * (16 * 27 + 16)
    assert ops.peak_bytes(conv) == 4 * (3 * 64 + 16 * 16)
    binary = Operator.of("bireal", (20, 4, 4), (20, 4, 4), "w1a1", kernel=3, stride=1)
    # 3 bytes hold 20 bits; thresholds, scale and bias; PReLU slopes.
    assert ops.weight_bytes(binary) == 20 * 9 * 3 + 4 * 20 + 8 * 20 + 4 * 20
    integer = Operator.of("pool_dense", (8, 3, 3), (10,), "int8", classes=10)
    assert ops.weight_bytes(integer) == 80 + 8 * 10
    assert ops.peak_bytes(integer) == 72 + 8
    pixels = Operator.of("preprocess", (8, 8, 3), (3, 4, 8))
    # half the rows: four taps each over whole lines; columns stay: one tap. Taps, their places, mean and factor.
    assert ops.macs(pixels) == 3 * 4 * (8 * 4 + 8)
    assert ops.weight_bytes(pixels) == 4 * (4 * 4 + 8) + 8 * (4 + 8) + 2 * 4 * 3
    assert ops.peak_bytes(pixels) == 8 * 8 * 3 + 4 * 3 * 4 * 8
    convert = Operator.of("convert", (8, 3, 3), (8, 3, 3), "int8")
    assert ops.peak_bytes(convert) == 72 * 5


def test_a_residual_keeps_its_input_alive_in_the_peak() -> None:
    shared = {"kernel": 3, "expansion": 4, "se": False, "activation": "relu"}
    residual = Operator.of("inverted_residual", (8, 4, 4), (8, 4, 4), "int8", stride=1, **shared)
    assert ops.peak_bytes(residual) == 128 + 2 * 512
    plain = Operator.of("inverted_residual", (8, 4, 4), (9, 4, 4), "int8", stride=1, **shared)
    assert ops.peak_bytes(plain) == 2 * 512


@pytest.mark.parametrize(
    ("kind", "input_shape", "output_shape", "precision", "attributes", "message"),
    [
        ("conv_bn_act", (3, 8, 8), (4, 8, 8), "fp32", {"kernel": 2, "stride": 1, "activation": "relu"}, "odd kernel"),
        ("conv_bn_act", (3, 8, 8), (4, 5, 5), "fp32", {"kernel": 3, "stride": 2, "activation": "relu"}, "must give"),
        ("conv_bn_act", (3, 8, 8), (4, 8, 8), "fp32", {"kernel": 3, "stride": 1, "activation": "gelu"}, "activation"),
        ("bireal", (3, 9, 9), (3, 3, 3), "w1a1", {"kernel": 3, "stride": 3}, "stride 1 or 2"),
        ("pool_dense", (3, 9, 9), (3,), "w1a1", {"classes": 3}, "fp32 or int8"),
        ("preprocess", (8, 8, 3), (1, 4, 4), "fp32", {}, "takes"),
        ("preprocess", (8, 8, 3), (3, 4, 4), "int8", {}, "gives fp32"),
        ("pool", (3, 2, 2), (3, 1, 1), "fp32", {"kernel": 3, "stride": 1, "mode": "max"}, "does not fit"),
    ],
)
def test_a_block_that_cannot_be_is_refused(
    kind: str,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    precision: str,
    attributes: dict[str, int | str],
    message: str,
) -> None:
    with pytest.raises(HwnasError, match=message):
        _ = Operator.of(kind, input_shape, output_shape, precision, **attributes).layers
