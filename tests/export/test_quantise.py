"""Folding and calibration: what they keep, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwnas import ops
from hwnas.errors import HwnasError
from hwnas.export.quantise import calibrate, fold, places
from hwnas.network import Network, Node, Operator
from hwnas.ops.numeric.scales import Scale, dequantise, quantise
from tests.export.nets import images, network, parameters


@pytest.mark.parametrize("precision", ["fp32", "w1a1"])
def test_a_folded_network_gives_what_torch_gives(precision: str) -> None:
    net = network(precision)
    values = parameters(net)
    x = images(8)
    y = torch.from_numpy(x)
    for node in net:
        own = {
            n.removeprefix(f"{node.name}."): torch.from_numpy(v)
            for n, v in values.items()
            if n.startswith(f"{node.name}.")
        }
        y = ops.forward(node.operator, [y], own, training=False)
    np.testing.assert_allclose(fold(net, values)(x), y.numpy(), rtol=1e-3, atol=1e-4)


def test_int8_stays_close_to_fp32() -> None:
    net = network("int8", "int8")
    folded = fold(net, parameters(net))
    x = images(64)
    real, quantised = folded(x), calibrate(folded, x)(x)
    # 8 bits over five blocks: a few percent of the outputs' spread.
    assert np.abs(real - quantised).mean() < 0.1 * real.std()


@pytest.mark.parametrize("clip", ["minmax", "percentile", "mse"])
def test_every_int8_tensor_gets_a_code_and_relu_gets_zero_point_zero(clip: str) -> None:
    net = network("int8", "int8")
    quantised = calibrate(fold(net, parameters(net)), images(16), clip=clip)  # type: ignore[arg-type]
    for place in places(net):
        assert (place.name in quantised.codes) == (place.layer.precision == "int8")
        if place.layer.precision == "int8" and place.layer.activation == "relu":
            assert quantised.codes[place.name].zero_point == 0


def test_seven_bit_weights_cannot_saturate_a_sixteen_bit_pair() -> None:
    net = network("int8", "int8")
    quantised = calibrate(fold(net, parameters(net)), images(16), weight_bits=7)
    largest = max(int(np.abs(t["weight"]).max()) for t in quantised.tensors.values() if "weight_scale" in t)
    assert largest == 63 and 2 * 255 * largest < 2**15


def test_bias_correction_brings_channel_means_closer() -> None:
    net = network("int8", "int8")
    folded = fold(net, parameters(net))
    x = images(50)
    real = folded(x).mean(axis=0)
    errors = [
        np.abs(calibrate(folded, x, weight_bits=7, correct_bias=on)(x).mean(axis=0) - real).mean()
        for on in (False, True)
    ]
    assert errors[1] < errors[0]


def test_quantising_twice_changes_nothing() -> None:
    scale = Scale.of_range(-1.3, 4.2)
    x = np.random.default_rng(0).uniform(-3, 6, 10_000).astype(np.float32)
    codes = quantise(x, scale)
    np.testing.assert_array_equal(quantise(dequantise(codes, scale), scale), codes)
    assert dequantise(np.array([scale.zero_point], np.uint8), scale)[0] == 0


def test_a_missing_parameter_is_named() -> None:
    net = network("fp32")
    values = parameters(net)
    del values["b0.conv.gamma"]
    with pytest.raises(HwnasError, match=r"b0\.conv\.gamma"):
        fold(net, values)


def test_a_parameter_with_nan_is_refused() -> None:
    net = network("fp32")
    values = parameters(net)
    values["b1.conv.weight"][0, 0, 0, 0] = np.nan
    with pytest.raises(HwnasError, match=r"b1\.conv\.weight holds NaN"):
        fold(net, values)


def test_a_missing_conversion_between_precisions_is_refused() -> None:
    net = network("int8", "int8")
    bare = Network.chain(net.nodes[1:])
    with pytest.raises(HwnasError, match="stem reads uint8 but is given float32"):
        fold(bare, parameters(bare))
    nodes = (net.nodes[0], *(n for n in network("w1a1").nodes))
    with pytest.raises(HwnasError, match="reads float32 but is given uint8"):
        fold(Network.chain(nodes), parameters(net))


def test_calibration_images_of_another_shape_are_refused() -> None:
    net = network("int8", "int8")
    folded = fold(net, parameters(net))
    with pytest.raises(HwnasError, match="calibration needs images"):
        calibrate(folded, np.zeros((4, 1, 12, 12), np.float32))


def test_a_block_of_a_constant_zero_still_has_a_scale() -> None:
    operator = Operator.of("convert", (3, 4, 4), (3, 4, 4), "int8")
    net = Network.chain([Node("c", operator)])
    quantised = calibrate(fold(net, {}), np.zeros((2, 3, 4, 4), np.float32))
    assert (quantised(np.zeros((2, 3, 4, 4), np.float32)) == quantised.codes["c.convert"].zero_point).all()
