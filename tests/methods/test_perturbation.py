"""DARTS-PT: what is missed most is kept, the rest not renormalised, and the supernet stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.data import Raw, prepare
from hwnas.errors import HwnasError
from hwnas.methods.decoder.argmax import Argmax
from hwnas.methods.decoder.perturbation import Perturbation, _Slower
from hwnas.methods.rule.darts import Darts
from hwnas.methods.rule.single_path import SinglePath
from hwnas.space import Choice, Mix, SearchSpace
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.supernet import WeightSharing
from hwnas.tasks.classify import Classify

SPACE = SearchSpace("toy", (Choice("a", ("good", "bad")), Choice("b", ("bad", "good"))), (), 1, 2)


class Sum(nn.Module):
    """Logits (0, margin): a `good` option adds 1 times its weight to the margin of the right class, a `bad` one -0.5.

    Written out so that a masked weight can be followed: nothing here renormalises."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[dict[str, list[float]]] = []

    def forward(self, inputs: torch.Tensor, selection: Any) -> torch.Tensor:
        margin = torch.zeros(())
        record = {}
        for name, value in selection.items():
            mix = value if isinstance(value, Mix) else Mix((value,), (1.0,))
            record[name] = [float(weight) for weight in mix.weights]
            for option, weight in zip(mix.options, mix.weights, strict=True):
                margin = margin + weight * (1.0 if option == "good" else -0.5)
        self.seen.append(record)
        sign = inputs.reshape(len(inputs), -1)[:, :1].sign()
        return torch.cat([torch.zeros_like(sign), sign * margin * self.scale], dim=1)


class Even:
    """A rule that leans towards `bad` everywhere: argmax takes it."""

    def groups(self, net: Any) -> Any:
        return {"weights": net.parameters()}

    def steps(self, net: Any, batch: Any) -> Any:
        return iter(())

    def mixture(self) -> Any:
        return {
            "a": Mix(("good", "bad"), torch.tensor([0.4, 0.6])), "b": Mix(("bad", "good"), torch.tensor([0.6, 0.4])),
        }  # fmt: skip


def signs() -> Any:
    images = np.tile(np.array([-1.0, 1.0], np.float32), 12)[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)
    labels = (images[:, 0, 0, 0] > 0).astype(np.int64)
    return prepare(Raw("signs", images, labels, ("minus", "plus"), np.tile([0, 0, 1, 1, 2, 2], 4)))


def test_the_option_whose_absence_hurts_most_is_kept_though_its_weight_is_smaller() -> None:
    net, rule = Sum(), Even()
    decoder = Perturbation(rule, signs(), Classify(), tune_epochs=0)  # type: ignore[arg-type]
    found = decoder.decode(net, rule, SPACE, lambda listed: np.zeros(len(listed)))  # type: ignore[arg-type]
    assert dict(found) == {"a": "good", "b": "good"}
    assert dict(Argmax(rule).decode(net, rule, SPACE, lambda listed: np.zeros(0))) == {"a": "bad", "b": "bad"}  # type: ignore[arg-type]


def test_a_masked_weight_is_zero_and_the_others_are_as_they_were() -> None:
    net, rule = Sum(), Even()
    decoder = Perturbation(rule, signs(), Classify(), tune_epochs=0)  # type: ignore[arg-type]
    decoder._without(net, rule, {}, "a", "bad")  # type: ignore[arg-type]
    assert net.seen[0] == {"a": pytest.approx([0.4, 0.0]), "b": pytest.approx([0.6, 0.4])}


def test_a_tuning_rate_is_a_tenth_of_the_rule_s_own() -> None:
    rule = Darts(nas_bench_201(1, 2, width=2, cells=1, image_size=(8, 8)))
    assert _Slower(rule).rate("weights", 0.0, 1.0) == pytest.approx(0.0025)
    assert _Slower(Even()).rate("weights", 0.0, 0.2) == 0.2  # type: ignore[arg-type]
    assert _Slower(rule).needs_validation_batch and not _Slower(Even()).needs_validation_batch  # type: ignore[arg-type]


def test_a_cell_is_decoded_and_the_supernet_and_rule_are_left_as_training_left_them() -> None:
    space = nas_bench_201(1, 2, width=2, cells=1, image_size=(8, 8), operations=("skip_connect", "nor_conv_1x1"))
    space = space.restrict({"precision": ["fp32"]})
    rng = np.random.default_rng(0)
    data = prepare(Raw("noise", rng.standard_normal((60, 1, 8, 8)).astype(np.float32), np.arange(60) % 2, ("0", "1")))
    net, rule = WeightSharing(space), Darts(space, order=1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    alpha = {name: value.detach().clone() for name, value in rule.alpha.items()}

    def decode() -> Any:
        decoder = Perturbation(rule, data, Classify(), tune_epochs=1, batch_size=16)
        return decoder.decode(net, rule, space, lambda listed: np.zeros(len(listed)))  # type: ignore[arg-type]

    first = decode()
    assert space.architecture(first) == first == decode()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(rule.alpha[name], value) for name, value in alpha.items())


def test_a_rule_without_a_mixture_and_wrong_settings_are_refused() -> None:
    with pytest.raises(HwnasError, match=r"no mixture\(\)"):
        Perturbation(SinglePath(SPACE), signs(), Classify())
    with pytest.raises(HwnasError, match="tune_epochs must be a whole number"):
        Perturbation(Even(), signs(), Classify(), tune_epochs=-1)  # type: ignore[arg-type]
