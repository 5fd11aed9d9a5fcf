"""Wrapper: `subject` is its constructor; what it makes of a supernet is one of the same space, which trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hwnas.protocols import Supernet, Wrapper
from hwnas.space import Architecture, SearchSpace
from hwnas.testing import hold
from hwnas.testing.toy import made, toy_batch, toy_space

Settings = Mapping[str, Any] | None


def gives_outputs_of_any_architecture_and_keeps_no_state(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    import torch

    net, searched, batch = *_wrapped(subject, space, settings), toy_batch()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        for architecture in _ends(searched):
            first, again = net(batch.given, architecture), net(batch.given, architecture)
            expected = (len(batch.targets), *searched.lower(architecture).operators[-1].output_shape)
            hold(tuple(first.shape) == expected, f"outputs {expected}, got {tuple(first.shape)}")
            hold(torch.equal(first, again), "the same inputs and architecture give the same outputs")
    changed = [name for name, value in net.state_dict().items() if not torch.equal(before[name], value)]
    hold(not changed, f"a call changes nothing, changed: {changed}")


def holds_the_tensors_of_every_node_so_that_a_net_can_be_taken_out(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    from hwnas import ops
    from hwnas.supernet import extract

    net, searched = _wrapped(subject, space, settings)
    for architecture in _ends(searched):
        for node in searched.lower(architecture):
            shapes = {name: tuple(value.shape) for name, value in net.tensors(node, architecture).items()}
            wanted = {name: tuple(shape) for name, shape in ops.parameters(node.operator).items()}
            hold(shapes == wanted, f"tensors of {node.name}: {wanted}, got {shapes}")
        taken = extract(net, architecture)
        hold(taken.network == searched.lower(architecture), "the net taken out is of the architecture's network")


def trains_parameters_that_are_saved(
    subject: Callable[..., Any], space: SearchSpace | None = None, settings: Settings = None
) -> None:
    """A loss of the largest architecture reaches some of them; all are in the state that a checkpoint holds."""
    net, searched, batch = *_wrapped(subject, space, settings), toy_batch()
    net(batch.given, searched.largest()).square().sum().backward()
    reached = [p for p in net.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    hold(reached, "a loss has a gradient with respect to its parameters")
    saved = {value.data_ptr() for value in net.state_dict().values()}
    hold(all(p.data_ptr() in saved for p in net.parameters()), "every parameter is in state_dict()")


def _wrapped(subject: Callable[..., Any], space: SearchSpace | None, settings: Settings) -> tuple[Any, SearchSpace]:
    from hwnas.supernet import WeightSharing

    searched = space or toy_space()
    wrapper = made(subject, searched, 0, settings)
    hold(isinstance(wrapper, Wrapper), f"a wrapper is called with a supernet, got {type(wrapper).__name__}")
    net = wrapper(WeightSharing(searched))
    hold(isinstance(net, Supernet), f"a supernet has tensors, parameters and a call, got {type(net).__name__}")
    return net, searched


def _ends(space: SearchSpace) -> list[Architecture]:
    return [space.smallest(), space.largest()]
