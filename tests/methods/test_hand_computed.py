"""One hand-computed equation a method: ridge, SynFlow, MACs, argmax, live codes, and what a predictor guides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hwnas.errors import HwnasError
from hwnas.methods.cost.macs import macs
from hwnas.methods.decoder.argmax import Argmax
from hwnas.methods.predictor.ridge import Ridge
from hwnas.methods.proxy.synflow import SynFlow
from hwnas.methods.rule.single_path import SinglePath
from hwnas.methods.scorer.proxy import Proxy
from hwnas.methods.search.predicted import Predicted
from hwnas.network import Operator
from hwnas.space import Architecture, Choice, Mix, SearchSpace, Slot
from hwnas.spaces.flexibert import flexibert
from hwnas.spaces.preprocess import reading_pixels
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import Net, WeightSharing
from tests.methods.toy import MACS, SPACE, Relaxed, score


def chain(kernel: int = 1) -> SearchSpace:
    """One convolution and a classifier: 2 channels to 3, on 4 x 4 pixels; a second convolution where `deep`."""
    conv = Operator.of("conv_bn_act", (2, 4, 4), (3, 4, 4), kernel=kernel, stride=1, activation="relu")
    more = Operator.of("conv_bn_act", (3, 4, 4), (3, 4, 4), kernel=1, stride=1, activation="relu")
    wide = Operator.of("conv_bn_act", (3, 4, 4), (3, 4, 4), kernel=3, stride=1, activation="relu")
    last = Operator.of("pool_dense", (3, 4, 4), (5,), classes=5)
    choices = (Choice("deep", (False, True)), Choice("kernel", (1, 3)))
    slots = (
        Slot("first", (), lambda v: conv),
        Slot("second", ("deep", "kernel"), lambda v: (wide if v["kernel"] == 3 else more) if v["deep"] else None),
        Slot("last", (), lambda v: last),
    )
    return SearchSpace("chain", choices, slots, 2, 5)


def test_macs_are_output_pixels_times_kernel_times_channels() -> None:
    """Convolution: 16 pixels x 2 x 3 = 96; the classifier: 3 x 5 = 15 (pooling multiplies nothing)."""
    network = chain().lower({"deep": False, "kernel": 1})
    assert macs()(network) == 96 + 15
    assert macs()(chain(3).lower({"deep": False, "kernel": 1})) == 96 * 9 + 15
    deep = chain().lower({"deep": True, "kernel": 3})
    assert macs()(deep) == 96 + 16 * 9 * 9 + 15


def test_ridge_is_the_closed_form_on_centred_one_hot_codes() -> None:
    """One choice of two options, scores 1 and 3, alpha 1: X = [[.5, -.5], [-.5, .5]], y = [-1, 1].

    X'X = [[.5, -.5], [-.5, .5]] has the eigenvector (1, -1) of value 1, X'y = (-1, 1), so w = (-1, 1) / (1 + 1).
    mean: 2 +- .5. s^2 = y'(y - Xw) / 2 = 2 x .5 / 2 = .5; x'(X'X + I)^-1 x = .5 / 2, so std^2 = .5 x 1.25.
    """
    space = SearchSpace("one", (Choice("a", (0, 1)),), (), 1, 2)
    ridge = Ridge(space, alpha=1.0)
    codes = np.array([[0], [1]])
    ridge.fit(codes, np.array([1.0, 3.0]))
    mean, std = ridge.predict(codes)
    np.testing.assert_allclose(mean, [1.5, 2.5])
    np.testing.assert_allclose(std, np.sqrt([0.625, 0.625]))
    blank_mean, _ = ridge.predict(np.array([[-1]]))
    np.testing.assert_allclose(blank_mean, [2.0])  # zeros less the means (.5, .5): both weights cancel


def test_ridge_refuses_what_it_cannot_fit() -> None:
    ridge = Ridge(SPACE)
    with pytest.raises(HwnasError, match="fitted before it predicts"):
        ridge.predict(SPACE.live_codes([SPACE.smallest()]))
    with pytest.raises(HwnasError, match="at least one score"):
        ridge.fit(np.zeros((0, len(SPACE.choices)), dtype=np.int64), np.zeros(0))
    with pytest.raises(HwnasError, match="alpha must be"):
        Ridge(SPACE, alpha=0)


DIVIDED = np.sqrt(1 + 1e-5)  # by batch norm of mean 0, variance 1


def halves(net: Net) -> Net:
    """All weights 1/2 or -1/2, in turns."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("weight"):
                value.copy_(torch.where(torch.arange(value.numel()).reshape(value.shape) % 2 == 0, 0.5, -0.5))
    return net


def test_synflow_of_a_chain_is_layers_times_flow() -> None:
    """Input of ones, weights of size 1/2: the convolution gives 2 x 1/2 = 1 in each of 3 channels (batch norm divides
    by sqrt(1 + 1e-5)), pooling keeps it, the classifier gives 3 x 1/2 = 1.5 in each of 5: R = 7.5.

    R is homogeneous of degree 1 in the weights of each of the two layers: their scores sum to 2 R. With a second
    convolution each of its 3 channels is 3 x 1/2 = 1.5, the classifier gives 2.25: R = 11.25, and 3 layers.
    """
    net = halves(Net(chain().lower({"deep": False, "kernel": 1})))
    assert SynFlow()(net) == pytest.approx(np.log1p(2 * 7.5 / DIVIDED), rel=1e-9)
    deep = halves(Net(chain().lower({"deep": True, "kernel": 1})))
    assert SynFlow()(deep) == pytest.approx(np.log1p(3 * 11.25 / DIVIDED**2), rel=1e-9)


def test_synflow_counts_no_scale_and_no_shift_but_lets_them_through() -> None:
    """A scale of -2 doubles the flow of its channels; a shift of -1 adds 1 that no convolution has part in.

    Channels: 1 x 2 / sqrt(1 + 1e-5) + 1; R = 5 x 3 x 1/2 x that. The classifier's scores sum to R, the convolution's to
    R without the shift's 7.5.
    """
    net = halves(Net(chain().lower({"deep": False, "kernel": 1})))
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.fill_(-2.0 if name.endswith("gamma") else -1.0) if name.endswith(("gamma", "beta")) else None
    flow = 7.5 * (2 / DIVIDED + 1)
    assert SynFlow()(net) == pytest.approx(np.log1p(flow + flow - 7.5), rel=1e-9)


def test_synflow_of_branches_is_the_sum_over_paths_of_their_layers() -> None:
    """A first convolution gives f = 1 / s in each of 3 channels (s: batch norm's divisor), a second of it
    g = 3/2 f / s, the classifier reads f + g: R = 7.5 (f + g). Both ends have all of it, the second convolution only
    what passes it."""
    shape = (3, 4, 4)
    convs = [Operator.of("conv_bn_act", (c, 4, 4), shape, kernel=1, stride=1, activation="relu") for c in (2, 3)]
    slots = (
        Slot("first", (), lambda v: convs[0]),
        Slot("second", (), lambda v: convs[1]),
        Slot("both", (), lambda v: Operator.of("sum", (shape, shape), shape), ("first", "second")),
        Slot("last", (), lambda v: Operator.of("pool_dense", shape, (5,), classes=5)),
    )
    net = halves(Net(SearchSpace("branches", (), slots, 2, 5).lower({})))
    f, g = 1 / DIVIDED, 1.5 / DIVIDED**2
    assert SynFlow()(net) == pytest.approx(np.log1p(7.5 * (2 * (f + g) + g)), rel=1e-9)


def test_synflow_of_raw_pixels_is_that_of_the_images_and_tokens_are_refused() -> None:
    space = resnet_binary(1, 4, (8,), 8, 2, ((8, 16),), (1, 2), (2,), (3, 5))
    inside = reading_pixels(space, (8, 8))
    images, pixels = (halves(Net(one.lower(one.smallest()))) for one in (space, inside))
    assert SynFlow()(pixels) == pytest.approx(SynFlow()(images))
    tokens = flexibert(2, 50, 8, depths=(1,), widths=(16,), hidden=(16,))
    with pytest.raises(HwnasError, match="feeds ones, and input x of this network holds int64"):
        SynFlow()(Net(tokens.lower(tokens.smallest())))


def test_a_proxys_score_rises_with_it_and_stays_below_1() -> None:
    scorer = Proxy(SPACE, lambda net: float(sum(p.numel() for p in net.parameters())))
    small, large = scorer([SPACE.smallest(), SPACE.largest()])
    count = sum(p.numel() for p in Net(SPACE.lower(SPACE.smallest())).parameters())
    assert small == count / (1 + count) and small < large < 1
    with pytest.raises(HwnasError, match=r"from 0 to .*, got nan"):
        Proxy(SPACE, lambda net: float("nan"))([SPACE.smallest()])


def test_live_codes_blank_what_no_slot_of_the_network_reads() -> None:
    space = chain()
    shallow = [Architecture({"deep": False, "kernel": kernel}) for kernel in (1, 3)]
    deep = [Architecture({"deep": True, "kernel": kernel}) for kernel in (1, 3)]
    assert space.live_codes(shallow).tolist() == [[-1, -1], [-1, -1]]
    assert space.live_codes(deep).tolist() == [[1, 0], [1, 1]]


def test_equal_live_codes_are_equal_networks() -> None:
    drawn = [SPACE.random(np.random.default_rng(i)) for i in range(200)]
    networks: dict[tuple[int, ...], Any] = {}
    for code, architecture in zip(map(tuple, SPACE.live_codes(drawn).tolist()), drawn, strict=True):
        assert networks.setdefault(code, SPACE.lower(architecture)) == SPACE.lower(architecture)
    assert len(networks) < len({*drawn}), "some architectures differ in nothing that is there"


def test_argmax_takes_the_option_of_largest_weight_that_the_target_leaves() -> None:
    class Rule(Relaxed):
        def mixture(self) -> dict[str, Any]:
            return {"deep": Mix((False, True), [0.6, 0.4]), "kernel": Mix((1, 3), [0.1, 0.9])}

    rule, space = Rule(), chain()
    net = WeightSharing(space)
    assert dict(Argmax(rule).decode(net, rule, space, score)) == {"deep": False, "kernel": 3}
    narrow = space.restrict({"kernel": [1]})
    assert dict(Argmax(rule).decode(net, rule, narrow, score)) == {"deep": False, "kernel": 1}


def test_argmax_never_picks_what_it_is_told_never_to_pick() -> None:
    class Rule(Relaxed):
        def mixture(self) -> dict[str, Any]:
            return {"deep": Mix((False, True), [0.6, 0.4]), "kernel": Mix((1, 3), [0.1, 0.9])}

    rule, space = Rule(), chain()
    assert dict(Argmax(rule, space, never=[3]).decode(WeightSharing(space), rule, space, score)) == {
        "deep": False,
        "kernel": 1,
    }
    for never, message in (
        (["nothing"], "option of space .* under never"),
        ([1, 3], "leaves no option of kernel"),
        ("none", "must be a list"),
    ):
        with pytest.raises(HwnasError, match=message):
            Argmax(rule, space, never=never)


def test_argmax_takes_a_rule_at_its_word_and_refuses_one_without_architecture_parameters() -> None:
    class Picking:
        groups, steps = Relaxed.groups, Relaxed.steps

        def pick(self) -> Architecture:
            return Architecture({"deep": True, "kernel": 3})

    rule, space = Picking(), chain()
    assert dict(Argmax(rule).decode(WeightSharing(space), rule, space, score)) == {"deep": True, "kernel": 3}
    with pytest.raises(HwnasError, match="Picking picks 3 for kernel itself"):
        Argmax(rule, space, never=[3]).decode(WeightSharing(space), rule, space, score)
    with pytest.raises(HwnasError, match="SinglePath trains no weights of options"):
        Argmax(SinglePath(space))


def test_predicted_ends_where_everything_that_meets_the_limits_was_told() -> None:
    space = chain()
    sampler = Predicted(space, Ridge(space), {}, {}, initial=2)
    sampler.tell(drawn := sampler.ask(9), np.arange(len(drawn)) / 10)
    assert len(drawn) == 3 and sampler.ask(9) == [], "one shallow network, two deep ones"


def test_predicted_proposes_what_the_predictor_ranks_first_and_nothing_over_a_limit() -> None:
    limit = float(np.median(MACS([SPACE.random(np.random.default_rng(i)) for i in range(100)])))
    sampler = Predicted(SPACE, Ridge(SPACE), {"macs": MACS}, {"macs": limit}, initial=10, pool=400)
    first = sampler.ask(10)
    sampler.tell(first, score(first))
    best = sampler.ask(5)
    assert (MACS([*first, *best]) <= limit).all()
    assert score(best).mean() > score(first).mean() and not {*best} & {*first}
