"""SynFlow: what all weights together let through, without data (Tanaka et al., NeurIPS 2020, arXiv:2006.05467).

With every parameter replaced by its absolute value, an input of ones and R the sum of the outputs,

    score(theta) = dR/dtheta * theta,   proxy(net) = log(1 + sum of |score| over all parameters)

Differs: the paper prunes weights by their scores; their sum ranks whole networks, and its logarithm is taken, as it
grows like a product over the layers. Layers of few bits count by their straight-through gradients.
Baseline: cost.macs.
"""

from __future__ import annotations

import copy
from typing import Any


class SynFlow:
    """A number of at least 0; the net it is given stays as it is."""

    def __call__(self, net: Any, /) -> float:
        """`net`: a stand-alone net (hwnas.supernet.Net); it is run once on ones of its input shape, in float64."""
        import torch

        flow = copy.deepcopy(net).double().eval()
        with torch.no_grad():
            for value in (*flow.parameters(), *flow.buffers()):
                value.abs_()
        ones = torch.ones((1, *net.network.input_shape), dtype=torch.float64, device=next(flow.parameters()).device)
        gradients = torch.autograd.grad(flow(ones).sum(), list(flow.parameters()), allow_unused=True)
        with torch.no_grad():
            pairs = zip(gradients, flow.parameters(), strict=True)
            scores = [(g * p).abs().sum() for g, p in pairs if g is not None]
            return float(torch.log1p(torch.stack(scores).sum()))
