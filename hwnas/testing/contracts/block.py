"""Block: `subject` is an Operator, an example of the block; it gives its shape, trains, and has a cost on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas import ops
from hwnas.network import Operator
from hwnas.testing import hold

if TYPE_CHECKING:
    import torch

EXAMPLES = 4


def names_only_tensors_it_has(subject: Operator) -> None:
    torch_values = _values(subject)
    shapes = {name: tuple(value.shape) for name, value in torch_values.items()}
    listed = {**ops.parameters(subject), **ops.buffers(subject)}
    hold(shapes == listed, f"initial values are of the parameters and buffers {listed}, got {shapes}")


def gives_its_output_shape_and_trains_every_parameter(subject: Operator) -> None:
    import torch

    values = _values(subject)
    for name in ops.parameters(subject):
        values[name].requires_grad_()
    y = ops.forward(subject, _inputs(subject), values, True)
    hold(tuple(y.shape) == (EXAMPLES, *subject.output_shape), f"{subject} gives {tuple(y.shape[1:])}")
    if not ops.parameters(subject):
        return
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for name in ops.parameters(subject):
        gradient = values[name].grad
        hold(gradient is not None and torch.isfinite(gradient).all(), f"{name} gets a finite gradient, got {gradient}")


def writes_running_statistics_only_where_it_is_given_them(subject: Operator) -> None:
    import torch

    values, x = _values(subject), _inputs(subject)
    own = {name: values[name] for name in ops.parameters(subject)}
    before = {name: value.clone() for name, value in values.items()}
    y = ops.forward(subject, x, own, False)
    changed = [name for name in values if not torch.equal(values[name], before[name])]
    hold(not changed, f"without running statistics the batch decides and nothing is written, but {changed} were")
    hold(torch.equal(y, ops.forward(subject, x, values, True)), "in training the batch's own statistics decide")
    still = [name for name in ops.buffers(subject) if torch.equal(values[name], before[name])]
    hold(not still, f"training moves every running statistic, but not {still}")


def costs_a_count_on_paper(subject: Operator) -> None:
    for name, count in (("macs", ops.macs(subject)), ("weight_bytes", ops.weight_bytes(subject))):
        hold(isinstance(count, int) and count >= 0, f"{name} is a whole number of at least 0, got {count!r}")
    peak = ops.peak_bytes(subject)
    hold(peak > 0, f"input and output take memory, peak_bytes is {peak}")


def _values(operator: Operator) -> dict[str, torch.Tensor]:
    import torch

    return ops.initial(operator, torch.Generator().manual_seed(0))


def _inputs(operator: Operator) -> list[torch.Tensor]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn((EXAMPLES, *port.shape), generator=generator)
        if port.dtype == "float32"
        else torch.randint(2, (EXAMPLES, *port.shape), generator=generator)  # tokens 0 and 1 are in every table
        for port in operator.inputs
    ]
