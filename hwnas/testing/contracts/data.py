"""Data source: `subject` loads it and gives Data; the same settings and indices give the same examples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwnas.data import Data
from hwnas.testing import hold


def is_the_same_when_it_is_loaded_again(subject: Callable[[], Data]) -> None:
    """What was trained is found again by the digest."""
    one, again = subject(), subject()
    hold(one.digest == again.digest, f"loading again gives the same digest, got {one.digest} and {again.digest}")
    hold(one.facts == again.facts and one.sizes() == again.sizes(), "loading again gives the same facts and sizes")


def has_three_splits_that_hold_something(subject: Callable[[], Data]) -> None:
    sizes = subject().sizes()
    hold(set(sizes) >= {"train", "validation", "test"}, f"data have train, validation and test, got {list(sizes)}")
    hold(min(sizes.values()) > 0, f"no split is empty, got {sizes}")


def gives_the_examples_that_are_asked_for(subject: Callable[[], Data]) -> None:
    """The loop owns the order: a batch of the same indices is the same batch, whatever came before it."""
    import torch

    data = subject()
    for split, count in data.sizes().items():
        order = np.random.default_rng(0).permutation(count)[:8]
        one = data.batch(split, order)
        data.batch(split, order[::-1])
        again = data.batch(split, order)
        alone = data.batch(split, order[:1])
        hold(set(one.inputs) == set(data.inputs), f"{split}: a batch has the inputs {list(data.inputs)}")
        for name, x in one.inputs.items():
            port = data.inputs[name]
            right = tuple(x.shape[1:]) == port.shape and str(x.dtype) == f"torch.{port.dtype}"
            hold(right, f"{split}: {name} is {port}, got {x.dtype} {tuple(x.shape[1:])}")
            hold(torch.equal(x, again.inputs[name]), f"{split}: the same indices give the same examples")
            hold(bool(torch.isfinite(x.float()).all()), f"{split}: examples are finite numbers")
            hold(torch.equal(alone.inputs[name][0], x[0]), f"{split}: an example does not depend on its batch")
        hold(torch.equal(one.targets, again.targets), f"{split}: the same indices give the same targets")
        wanted = torch.as_tensor(data.targets(split)[order])
        hold(torch.equal(one.targets, wanted), f"{split}: the targets of a batch are those of its indices")


def counts_its_targets(subject: Callable[[], Data]) -> None:
    data = subject()
    for split, count in data.sizes().items():
        hold(len(data.targets(split)) == count, f"{split} has a target for each of its {count} examples")
