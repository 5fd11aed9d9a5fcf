"""Fake quantisation with the straight-through gradient (torch): what uint8 export will do, felt during training.

forward  q(x) = (clamp(round(x / s) + z, 0, 255) - z) * s        gradient  dq/dx = 1
Stateless: the range is the batch's own minimum and maximum (over all ranks), widened to hold zero.
The forward value is q itself, bit for bit: `x + (q - x).detach()` would round twice.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hwnas.ops.numeric.normalise import shared

LEVELS = 255
SMALLEST = 2.0**-100


class _StraightThrough(torch.autograd.Function):
    """`quantised` in the forward pass, the gradient of `x` in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantised: Tensor) -> Tensor:
        return quantised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def _divided(x: Tensor, by: int) -> Tensor:
    """x / by, rounded once on every device: by a plain number, torch multiplies with its reciprocal on a GPU."""
    return x / x.new_full((), by)


def fake_quantise(x: Tensor) -> Tensor:
    """An activation of any shape as the nearest of 256 evenly spaced values; zero is one of them."""
    with torch.no_grad():
        low, high = torch.aminmax(x)
        ends = torch.stack((low.clamp(max=0.0), -high.clamp(min=0.0)))
        if shared():
            dist.all_reduce(ends, op=dist.ReduceOp.MIN)
        low, high = ends[0], -ends[1]
        scale = _divided(high - low, LEVELS).clamp(min=SMALLEST)
        zero_point = torch.round(-low / scale)
        codes = torch.round(x / scale).add_(zero_point).clamp_(0, LEVELS)
        quantised = codes.sub_(zero_point).mul_(scale)
    result: Tensor = _StraightThrough.apply(x, quantised)
    return result


def fake_quantise_weight(weight: Tensor, bits: int = 8) -> Tensor:
    """A weight (O, ...) as the nearest of 2^bits - 1 symmetric values of its output channel."""
    limit = 2 ** (bits - 1) - 1
    with torch.no_grad():
        largest = weight.abs().flatten(1).amax(dim=1)
        scale = _divided(largest, limit).clamp(min=SMALLEST).reshape(-1, *[1] * (weight.dim() - 1))
        quantised = torch.round(weight / scale).clamp_(-limit, limit).mul_(scale)
    result: Tensor = _StraightThrough.apply(weight, quantised)
    return result
