"""SynFlow: what all weights together let through, without data (Tanaka et al., NeurIPS 2020, arXiv:2006.05467).

With every parameter replaced by its absolute value, an input of ones and R the sum of the outputs,

    score(w) = dR/dw * w,   proxy(net) = log(1 + sum of score over all weights)

of the layers that multiply: normalisation's scales and all shifts let through and are not counted, as in the authors'
code. Batch norm is in evaluation mode: it divides by its starting variance, 1.

Differs: the paper prunes weights by their scores; their sum ranks whole networks, and its logarithm is taken, as it
grows like a product over the layers. Layers of few bits count by their straight-through gradients, and an activation
that is not piecewise linear (hswish, gelu) is left as it is.
Baseline: cost.macs.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hwnas import ops
from hwnas.errors import HwnasError

if TYPE_CHECKING:
    from torch import Tensor


class SynFlow:
    """A number of at least 0; the net it is given stays as it is."""

    def __call__(self, net: Any, /) -> float:
        """`net`: a stand-alone net (hwnas.supernet.Net); it is run once on ones of its inputs, in float64. HwnasError
        where it reads whole numbers (tokens), of which ones are no neutral value."""
        import torch

        flow = copy.deepcopy(net).double().eval()
        with torch.no_grad():
            for value in (*flow.parameters(), *flow.buffers()):
                value.abs_()
        weights = [p for name, p in flow.named_parameters() if name.rpartition("/")[2] == "weight"]
        if not weights:
            return 0.0
        gradients = torch.autograd.grad(_output(flow), weights, allow_unused=True)
        with torch.no_grad():
            scores = [(g * w).abs().sum() for g, w in zip(gradients, weights, strict=True) if g is not None]
            return float(torch.log1p(torch.stack(scores).sum()))


def _output(flow: Any) -> Tensor:
    """R: the sum of all outputs for an input of ones."""
    import torch

    network, where = flow.network, next(flow.parameters()).device
    given = {}
    for name, port in network.inputs.items():
        if port.dtype != "float32":
            raise HwnasError(
                f"SynFlow feeds ones, and input {name} of this network holds {port.dtype}", hint="another proxy"
            )
        # Nets that take raw pixels are trained on normalised images, (C, H, W) as their first operator gives them.
        pixels = [n for n in network if name in n.inputs and not n.is_mix and ops.reads_pixels(n.operator)]
        shape = pixels[0].operator.output_shape if pixels else port.shape
        given[name] = torch.ones((1, *shape), dtype=torch.float64, device=where)
    outputs = flow(given)
    each = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    return torch.stack([value.sum() for value in each]).sum()
