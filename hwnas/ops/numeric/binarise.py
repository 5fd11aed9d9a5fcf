"""Signs with surrogate gradients (torch). One rule for zero everywhere: sign(0) = +1.

activation  b(x) = +1 where x >= t else -1;  db/dx = 2 - 2|x - t| within |x - t| <= 1, else 0  (Bi-Real Net)
weight      b(w) = +1 where w >= 0 else -1;  db/dw = 1 within |w| <= 1, else 0                (BinaryNet)
(arXiv:1808.00278, arXiv:1602.02830.)
Batch norm follows every 1-bit convolution, so no mean-magnitude factor is needed: it would cancel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _SignActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor) -> Tensor:
        limit = threshold[:, None, None]
        ctx.save_for_backward(x, limit)
        return torch.where(x >= limit, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, limit = ctx.saved_tensors
        slope = (x - limit).abs_().mul_(-2.0).add_(2.0).clamp_(min=0.0)
        result = slope.mul_(gradients[0])
        return result, -result.sum(dim=(0, 2, 3))


class _SignWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (weight,) = ctx.saved_tensors
        return gradients[0] * (weight.abs() <= 1.0)


def sign_activation(x: Tensor, threshold: Tensor) -> Tensor:
    """(N, C, H, W) to +1 and -1 about a threshold (C,) (ReActNet's RSign); the threshold is trained too."""
    result: Tensor = _SignActivation.apply(x, threshold)
    return result


def sign_weight(weight: Tensor) -> Tensor:
    """Latent real weights to +1 and -1."""
    result: Tensor = _SignWeight.apply(weight)
    return result
