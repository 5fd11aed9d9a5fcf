"""Encoders of texts: attention by hand, padding that changes nothing, heterogeneous layers, every engine alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas import ops
from hwnas.errors import HwnasError
from hwnas.export.onnx import network_model, to_onnx
from hwnas.export.quantise import QuantisedNet, places, random_net
from hwnas.network import Network, Operator, Port
from hwnas.ops.primitive import is_integer
from hwnas.space import SearchSpace
from hwnas.spaces.flexibert import flexibert
from hwnas.supernet import Net, WeightSharing, extract
from hwnas.testing import check

TOKENS = 7
SPACE = flexibert(3, 150, TOKENS, depths=(1, 2), widths=(8, 16), heads=(1, 2), hidden=(12, 24))
UNIFORM = {
    **{f"l{i}.{name}": value for i in (1, 2) for name, value in (("width", 8), ("heads", 2), ("stacks", 1))},
    **{f"l{i}.hidden{j}": 12 for i in (1, 2) for j in (1, 2)},
    **{f"l{i}.{name}": value for i in (1, 2) for name, value in (("norm", "post"), ("precision", "fp32"))},
    "depth": 2,
}


def network(**changes: Any) -> Network:
    """Of the uniform architecture with other values for some choices; `__` stands for a dot."""
    return SPACE.lower(SPACE.architecture({**UNIFORM, **{key.replace("__", "."): v for key, v in changes.items()}}))


def texts(count: int = 6, seed: int = 0) -> np.ndarray:
    """Tokens (count, TOKENS) of one to TOKENS words, filled up with 0."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 150, (count, TOKENS))
    tokens[np.arange(TOKENS) >= 1 + np.arange(count)[:, None] % TOKENS] = 0
    return tokens


def test_the_laws_of_a_space_hold() -> None:
    check("space", SPACE)


def test_attention_of_a_tiny_text_is_what_a_hand_computes() -> None:
    """Two words and one place of padding, width 2, one head, Q = K = V = W_o = identity, LayerNorm after.

    Scores of word 1 (1, 0) are 1 and 0, over sqrt 2; exp gives e^0.7071 = 2.0281 and 1: shares 0.6698 and 0.3302, so
    that attention gives (0.6698, 0.3302), the sum (1.6698, 0.3302); normalised (1, -1), the spread being equal.
    """
    operator = Operator.of(
        "encoder_attention", ((3, 2), Port((3,), "int64")), (3, 2), heads=1, norm="post", vocabulary=9
    )
    params = {name: torch.zeros(shape) for name, shape in ops.parameters(operator).items()}
    params |= {f"{name}.weight": torch.eye(2) for name in ("q", "k", "v", "out")}
    params["norm.gamma"] = torch.ones(2)
    rows, tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, -7.0]]]), torch.tensor([[4, 8, 0]])
    y = ops.forward(operator, [rows, tokens], params, False)[0]
    np.testing.assert_allclose(y[:2].numpy(), [[1, -1], [-1, 1]], atol=1e-4)
    pre = Operator.of("encoder_attention", operator.inputs, (3, 2), heads=1, norm="pre", vocabulary=9)
    # LayerNorm first: (1, 0) is (1, -1); scores 2 and -2 over sqrt 2: shares e^1.4142 = 4.1133 to 0.24312.
    share = 4.1133 / (4.1133 + 0.24312)
    y = ops.forward(pre, [rows, tokens], params, False)[0]
    np.testing.assert_allclose(y[0].numpy(), [1 + 2 * share - 1, 1 - 2 * share], atol=1e-3)


def test_a_classifier_averages_words_alone() -> None:
    operator = Operator.of("token_classifier", ((3, 2), Port((3,), "int64")), (1,), classes=1, vocabulary=9)
    params = {name: torch.zeros(shape) for name, shape in ops.parameters(operator).items()}
    params |= {"norm.gamma": torch.ones(2), "dense.weight": torch.tensor([[1.0, 0.0]])}
    rows = torch.tensor([[[4.0, 2.0], [8.0, 3.0], [0.0, 9.0]]])  # normalised: (1, -1), (1, -1), (-1, 1)
    for tokens, mean in (([1, 1, 0], 1.0), ([1, 1, 1], 1 / 3), ([1, 0, 0], 1.0)):
        y = ops.forward(operator, [rows, torch.tensor([tokens])], params, False)
        np.testing.assert_allclose(y.numpy(), [[mean]], atol=1e-4)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_stands_at_padding_changes_no_answer(norm: str) -> None:
    """The padding token's row of the embedding is made another: padding is masked wherever it could be read."""
    net = Net(network(l1__norm=norm, l2__norm=norm), seed=1).eval()
    tokens = torch.from_numpy(texts())
    with torch.no_grad():
        before = net(tokens)
        next(value for name, value in net.own.items() if value.shape[0] == 150)[0] += 100.0
        torch.testing.assert_close(net(tokens), before, rtol=0, atol=0)
        word = tokens.clone()
        word[0, 1] = 5
        assert not torch.allclose(net(word)[0], before[0]), "a word there does change it"


def test_layers_of_two_widths_have_a_projection_between_and_equal_ones_none() -> None:
    kinds = [node.operator.kind for node in network()]
    assert kinds == [
        "token_embedding", *["encoder_attention", "encoder_mlp"] * 2, "token_classifier",
    ]  # fmt: skip
    wider = network(l2__width=16, l1__stacks=2)
    assert [node.name for node in wider] == [
        "embedding", "l1.attention", "l1.mlp1", "l1.mlp2", "l2.project", "l2.attention", "l2.mlp1", "head",
    ]  # fmt: skip
    assert [node.operator.output_shape for node in wider][4:6] == [(TOKENS, 16)] * 2
    assert len(network(depth=1)) == 4


def test_int8_layers_are_converted_at_their_borders_and_norms_stay_float() -> None:
    mixed = network(l1__precision="int8", l2__width=16)
    assert [node.name for node in mixed if node.operator.kind == "convert"] == ["l1.convert", "l2.convert"]
    kinds = {place.layer.kind: is_integer(place.layer) for place in places(mixed) if place.name.startswith("l1.a")}
    assert {kind for kind, integer in kinds.items() if not integer} == {
        "dequantize", "layer_norm", "padding", "add", "softmax",
    } - ({"add"} if kinds["add"] else set())  # fmt: skip
    assert kinds["dense"] and kinds["matmul"] and kinds["heads"]


def test_a_projection_in_each_direction_has_weights_of_its_own_and_the_rest_is_shared() -> None:
    net = WeightSharing(SPACE, seed=0)
    for changes in ({"l2__width": 16}, {"l1__width": 16}, {"l1__width": 16, "l2__heads": 1}):
        architecture = SPACE.architecture({**UNIFORM, **{key.replace("__", "."): v for key, v in changes.items()}})
        tokens = torch.from_numpy(texts())
        alone = extract(net, architecture).eval()
        torch.testing.assert_close(alone(tokens), net(tokens, architecture))
    whole = net(tokens, SPACE.largest())
    whole.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def exported(precision: str, norm: str) -> tuple[QuantisedNet, np.ndarray]:
    """A heterogeneous net of random constants in one precision, and its outputs for `texts`."""
    own = {f"l{i}__{key}": value for i in (1, 2) for key, value in (("precision", precision), ("norm", norm))}
    net = random_net(network(l2__width=16, l2__stacks=2, **own), seed=2, weight_bits=7)
    return net, net(texts())


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnx_runtime_gives_the_references_answers(precision: str, norm: str) -> None:
    import onnxruntime

    net, expected = exported(precision, norm)
    session = onnxruntime.InferenceSession(to_onnx(net, None).SerializeToString())
    assert session.get_inputs()[0].type == "tensor(int64)"
    found = session.run(None, {"input": texts()})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(expected.std()) + 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_native_library_gives_the_references_answers(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    from hwnas.export.native import compile_onnx
    from hwnas.export.native.load import NativeModel

    net, expected = exported(precision, "pre")
    compile_onnx(to_onnx(net), "host", tmp_path / "library")
    found = np.asarray(NativeModel(tmp_path / "library")(texts()))
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(expected.std()) + 1e-5)


def test_equal_nets_give_equal_bytes() -> None:
    made = [network_model(network(l1__precision="int8"), 3).SerializeToString(deterministic=True) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"heads": (3,)}, "heads must divide every width, and 3 does not divide 32"),
        ({"norms": ("middle",)}, "norms must be among post, pre, got"),
        ({"precisions": ("w1a1",)}, "encoder layers have no 1-bit form, got w1a1"),
        ({"depths": (0,)}, "depths must be whole numbers of at least 1, got"),
        ({"widths": ()}, "widths must be whole numbers of at least 1, got"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(HwnasError) as refused:
        flexibert(2, 200, 8, **settings)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "words"),
    [
        (
            "encoder_attention",
            ((5, 8), Port((4,), "int64")),
            {"heads": 2, "norm": "pre", "vocabulary": 9},
            "a token a row",
        ),
        ("encoder_attention", ((5, 8), (5,)), {"heads": 2, "norm": "pre", "vocabulary": 9}, "reads tokens"),
        ("encoder_attention", ((5, 8), Port((5,), "int64")), {"heads": 3, "norm": "pre", "vocabulary": 9}, "divide"),
        ("encoder_mlp", (5, 8), {"hidden": 4, "norm": "mid"}, "norm must be pre or post"),
        ("encoder_mlp", (5, 8), {"hidden": 0, "norm": "pre"}, "hidden width"),
        ("token_embedding", (5,), {"vocabulary": 9}, "reads tokens"),
        ("token_embedding", Port((5,), "int64"), {"vocabulary": 0}, "vocabulary of at least 1"),
    ],
)
def test_a_block_that_cannot_be_is_refused(kind: str, inputs: Any, attributes: dict[str, Any], words: str) -> None:
    with pytest.raises(HwnasError, match=words):
        print(Operator.of(kind, inputs, (5, 8), **attributes).layers)


def test_the_largest_and_the_smallest_are_of_the_depths_asked_for() -> None:
    assert isinstance(SPACE, SearchSpace) and SPACE.largest()["depth"] == 2 and len(SPACE.lower(SPACE.smallest())) == 4
