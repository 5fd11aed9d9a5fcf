"""One training step on half a batch in one of two processes: python ranks.py RANK FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from hwnas import ops
from hwnas.network import Operator

OPERATORS = (
    Operator.of("bireal", (6, 8, 8), (8, 4, 4), "w1a1", kernel=3, stride=2),
    Operator.of("conv_bn_act", (6, 8, 8), (8, 8, 8), "int8", kernel=3, stride=1, activation="relu"),
    Operator.of("conv_bn_act", (6, 8, 8), (8, 8, 8), "fp32", kernel=3, stride=1, activation="hswish"),
)


def step(operator: Operator, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Outputs, and gradients and statistics after one backward pass of a loss that is a mean over images."""
    values = ops.initial(operator, torch.Generator().manual_seed(3))
    for name in ops.parameters(operator):
        values[name].requires_grad_()
    y = ops.forward(operator, [x], values, True)
    target = torch.linspace(-1, 1, y[0].numel()).reshape(y[0].shape)
    (y - target).square().sum(dim=(1, 2, 3)).mean().backward()
    found = {name: values[name].grad for name in ops.parameters(operator)}
    return y.detach(), {**found, **{name: values[name] for name in ops.buffers(operator)}}  # type: ignore[dict-item]


def batch() -> torch.Tensor:
    return torch.randn((8, 6, 8, 8), generator=torch.Generator().manual_seed(1)) + 3.0


def main(rank: int, folder: Path) -> None:
    """Writes rank<RANK>.pt: outputs of its half, and gradients averaged over both, an operator at a time."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = []
    for operator in OPERATORS:
        y, found = step(operator, batch()[rank * 4 : rank * 4 + 4])
        for name in ops.parameters(operator):
            dist.all_reduce(found[name])
            found[name] /= 2
        results.append((y, found))
    torch.save(results, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
