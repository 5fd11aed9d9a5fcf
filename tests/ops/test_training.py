"""Training arithmetic by hand: signs, fake quantisation, and batch norm shared by processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from hwnas.ops.numeric.binarise import sign_activation, sign_weight
from hwnas.ops.numeric.fake_quantise import fake_quantise, fake_quantise_weight
from hwnas.ops.numeric.scales import Scale, dequantise, quantise, weight_scales
from tests.ops.ranks import OPERATORS, batch, step


def test_the_sign_is_plus_one_at_its_threshold_and_its_slope_is_bi_reals() -> None:
    x = torch.tensor([[[[-1.5, -0.5, 0.25, 0.5, 0.75, 3.0]]]], requires_grad=True)
    threshold = torch.tensor([0.25], requires_grad=True)
    y = sign_activation(x, threshold)
    assert y.flatten().tolist() == [-1, -1, 1, 1, 1, 1]
    y.sum().backward()
    expected = torch.tensor([0.0, 0.5, 2.0, 1.5, 1.0, 0.0])
    assert x.grad is not None and torch.equal(x.grad.flatten(), expected)
    assert threshold.grad is not None and threshold.grad.item() == -expected.sum().item()


def test_latent_weights_beyond_one_get_no_gradient() -> None:
    weight = torch.tensor([-1.5, -1.0, 0.0, 0.3, 1.1], requires_grad=True)
    y = sign_weight(weight)
    assert y.tolist() == [-1, -1, 1, 1, 1]
    y.sum().backward()
    assert weight.grad is not None and weight.grad.tolist() == [0, 1, 1, 1, 0]


def test_fake_quantisation_is_what_export_does_and_lets_gradients_through() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = fake_quantise(x)
    values = x.detach().numpy()
    scale = Scale.of_range(float(values.min()), float(values.max()))
    np.testing.assert_array_equal(y.detach().numpy(), dequantise(quantise(values, scale), scale))
    y.sum().backward()
    assert x.grad is not None and (x.grad == 1).all()


def test_fake_quantised_weights_are_symmetric_and_per_channel() -> None:
    weight = torch.randn((4, 3, 3, 3), generator=torch.Generator().manual_seed(0))
    weight[2] = 0.0
    quantised = fake_quantise_weight(weight).numpy()
    scales = weight_scales(weight.numpy(), 8)
    codes = quantised / scales[:, None, None, None]
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-4)
    assert np.abs(np.rint(codes)).reshape(4, -1).max(axis=1).tolist() == [127, 127, 0, 127]


def test_two_processes_with_half_a_batch_are_one_process_with_the_whole(tmp_path: Path, repository: Path) -> None:
    script = Path(__file__).with_name("ranks.py")
    environment = dict(os.environ, PYTHONPATH=str(repository))
    ranks = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path)], env=environment) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    halves = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    for i, operator in enumerate(OPERATORS):
        y, found = step(operator, batch())
        # Sums over the batch are taken in another order: float32 rounding of a few thousand terms; under int8 one
        # rounding step (1/255 of the range) where a value lies between two codes.
        atol = 0.03 if operator.precision == "int8" else 1e-4
        torch.testing.assert_close(torch.cat([half[i][0] for half in halves]), y, rtol=1e-4, atol=atol)
        for name, value in found.items():
            slack = 2e-3 * float(value.abs().max())
            torch.testing.assert_close(
                halves[0][i][1][name], value, rtol=1e-3, atol=slack, msg=lambda m, n=name: f"{n}: {m}"
            )
            torch.testing.assert_close(halves[0][i][1][name], halves[1][i][1][name])
