"""Batch normalisation whose batch is the whole batch, however many processes share it (torch)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5
MOMENTUM = 0.1


class _SumOverRanks(torch.autograd.Function):
    """all_reduce(sum) that gradients flow through: every rank's loss depends on every rank's input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def shared() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def batch_norm(x: Tensor, params: Mapping[str, Tensor], training: bool) -> Tensor:
    """(N, C, H, W) normalised and, where params has them, scaled by gamma and shifted by beta; mean and var are the
    running statistics.

    Batch statistics when training or where params has no mean/var; running ones are then updated in place (momentum
    0.1, unbiased variance) when training and given.
    """
    gamma, beta = params.get("gamma"), params.get("beta")
    mean, var = params.get("mean"), params.get("var")
    if not training and mean is not None:
        return F.batch_norm(x, mean, var, gamma, beta, False, MOMENTUM, EPSILON)
    values_a_channel = x.numel() // x.shape[1]
    if not shared() and values_a_channel > 1:
        running = (mean, var) if training else (None, None)
        return F.batch_norm(x, *running, gamma, beta, True, MOMENTUM, EPSILON)
    batch_mean, batch_var, count = _statistics(x)
    if training and mean is not None and var is not None:
        with torch.no_grad():
            unbiased = batch_var * (count / (count - 1)) if count > 1 else batch_var
            mean.lerp_(batch_mean.detach(), MOMENTUM)
            var.lerp_(unbiased.detach(), MOMENTUM)
    scale = torch.rsqrt(batch_var + EPSILON) if gamma is None else gamma * torch.rsqrt(batch_var + EPSILON)
    shift = -batch_mean * scale if beta is None else beta - batch_mean * scale
    return x * scale[:, None, None] + shift[:, None, None]


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and biased variance (C,) over all ranks, and the number of values a channel."""
    total = x.sum(dim=(0, 2, 3))
    count = torch.tensor(float(x.numel() // x.shape[1]), device=x.device, dtype=x.dtype)
    if shared():
        dist.all_reduce(count)
        total = _SumOverRanks.apply(total)
    mean = total / count
    # Two passes: E[x^2] - E[x]^2 loses all digits where the mean is large beside the spread.
    squares = (x - mean[:, None, None]).square().sum(dim=(0, 2, 3))
    if shared():
        squares = _SumOverRanks.apply(squares)
    return mean, squares / count, float(count)
