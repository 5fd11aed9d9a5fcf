"""The Auto-DeepLab space: paths, what a path costs, the trellis against its own formula, files with an image out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn.functional import interpolate

from hwnas import ops
from hwnas.cost import Costing, OperatorCost
from hwnas.errors import HwnasError
from hwnas.export.onnx import to_onnx
from hwnas.export.quantise import calibrate, fold
from hwnas.space import Architecture, Mix
from hwnas.spaces.auto_deeplab import CELL, OPERATIONS, Trellis, auto_deeplab, cell_name, edge_name, end_name
from hwnas.supernet import Net, WeightSharing, extract
from hwnas.testing import contract
from hwnas.testing.toy import toy_space
from tests.exact import exact_session

SPACE = auto_deeplab(3, 5, (24, 20), layers=3, strides=(2, 4, 8), width=4)
TRELLIS = Trellis.of(SPACE)
COST = OperatorCost("macs", "MAC", lambda operator: 1.0 + ops.macs(operator))  # 1: so that every node counts
SKIPS = ("skip", "skip", "skip")

test_the_space = contract("space", SPACE)


def along(path: Sequence[int], cell: Sequence[str] = SKIPS, precision: str = "fp32") -> Architecture:
    strides = {f"stride.{i + 1}": stride for i, stride in enumerate(path)}
    cells = {cell_name(*edge): operation for edge, operation in zip(CELL, cell, strict=True)}
    return SPACE.architecture({**strides, **cells, "precision": precision})


def soft(weight: Mapping[str, float], cells: Mapping[str, Any], precision: str = "fp32") -> dict[str, Any]:
    """A relaxed selection: every edge and end has its weight, 0.0 (not left out) where none is given."""
    names = [*(edge_name(*edge) for edge in TRELLIS.edges()), *map(end_name, TRELLIS.nodes(TRELLIS.layers))]
    assert set(weight) <= set(names)
    strides = {f"stride.{i + 1}": Mix(TRELLIS.strides, (1 / 3,) * 3) for i in range(TRELLIS.layers)}
    weighed = {name: Mix((True,), (torch.tensor(weight.get(name, 0.0)),)) for name in names}
    return {**strides, **weighed, **cells, "precision": precision}


def one_hot(architecture: Architecture, first: int = 2) -> dict[str, Any]:
    path = [first, *(int(architecture[f"stride.{i + 1}"]) for i in range(TRELLIS.layers))]
    weight = {edge_name(i + 1, a, b): 1.0 for i, (a, b) in enumerate(itertools.pairwise(path))}
    return soft(weight | {end_name(path[-1]): 1.0}, {cell_name(*edge): architecture[cell_name(*edge)] for edge in CELL})


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 24, 20, generator=torch.Generator().manual_seed(0))


def test_every_architecture_gives_a_class_score_for_every_pixel() -> None:
    for path in itertools.product((2, 4, 8), repeat=3):
        network = SPACE.lower(along(path))
        assert network.output_shape == (5, 24, 20) and network.input_shape == (3, 24, 20)
    assert SPACE.size == 3**3 * 4**3 * 2


def test_a_path_of_more_than_one_stride_crosses_those_between_without_a_cell() -> None:
    names = [node.name for node in SPACE.lower(along((8, 8, 2)))]
    assert [name for name in names if "-" in name] == ["l1.2-4", "l1.4-8", "l2.8-8", "l3.8-4", "l3.4-2"]
    assert [name for name in names if name.endswith("sum")] == ["l1.8.sum", "l2.8.sum", "l3.2.sum"]


def test_a_costing_is_the_cost_of_the_lowered_network_for_every_path() -> None:
    """Nodes that the path does not visit are pruned from the network, and must cost nothing in the table's sum."""
    costing, rng = Costing(SPACE, COST), np.random.default_rng(0)
    some = [along(path) for path in itertools.product((2, 4, 8), repeat=3)] + [SPACE.random(rng) for _ in range(300)]
    np.testing.assert_allclose(costing(some), [COST(SPACE.lower(one)) for one in some])
    bounds = costing.bounds()
    assert bounds.low == COST(SPACE.lower(bounds.smallest)) and bounds.high == COST(SPACE.lower(bounds.largest))


def test_layers_cost_alike_at_every_stride() -> None:
    """A path's cells have a quarter of the pixels and four times the products a pixel where the stride doubles."""
    cell = ("conv_3x3",) * 3
    space = auto_deeplab(3, 5, (32, 32), layers=1, strides=(2, 4, 8), width=4)
    costs = []
    for stride in (2, 4, 8):
        values = {cell_name(*edge): operation for edge, operation in zip(CELL, cell, strict=True)}
        network = space.lower({**values, "stride.1": stride, "precision": "fp32"})
        costs.append(sum(ops.macs(n.operator) for n in network if n.name.startswith(f"l1.{stride}.")))
    assert costs[0] == costs[1] == costs[2] > 0


def test_the_supernet_and_the_net_taken_out_of_it_agree_on_any_path() -> None:
    net, rng = WeightSharing(SPACE), np.random.default_rng(1)
    for architecture in [SPACE.restrict({"precision": ["fp32"]}).random(rng) for _ in range(12)]:
        alone = extract(net, architecture).train()
        torch.testing.assert_close(alone(images()), net(images(), architecture), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", [(2, 2, 2), (2, 4, 8), (4, 8, 8), (4, 4, 2), (4, 2, 2)])
def test_a_path_of_weight_one_is_the_hard_path(path: tuple[int, int, int]) -> None:
    """What the other nodes hold arrives with weight zero, and a node that nothing reaches holds zeros: no batch norm
    in the trellis shifts them."""
    net = WeightSharing(SPACE)
    architecture = along(path, ("conv_3x3", "avg_pool_3x3", "conv_5x5"))
    torch.testing.assert_close(
        net(images(), one_hot(architecture)), net(images(), architecture), rtol=1e-4, atol=1e-4
    )  # fmt: skip


def test_the_relaxed_space_is_the_sum_over_its_edges() -> None:
    """One layer of skip cells by its definition: cells give 3 x, edges what they do alone, heads their classes."""
    space = auto_deeplab(3, 2, (8, 8), layers=1, strides=(2, 4), width=2)
    net = WeightSharing(space).double()
    weight = {"edge.1.2-2": 0.3, "edge.1.2-4": 0.7, "end.2": 0.25, "end.4": 0.75}
    selection = {
        "stride.1": Mix((2, 4), (0.5, 0.5)),
        **{name: Mix((True,), (value,)) for name, value in weight.items()},
        **dict.fromkeys((cell_name(*edge) for edge in CELL), "skip"),
        "precision": "fp32",
    }
    network = space.lower(selection)
    by_name = {node.name: node for node in network}

    def alone(name: str, x: torch.Tensor) -> torch.Tensor:
        node = by_name.get(f"{name}/0") or by_name[name]
        return ops.forward(node.operator, [x], net.tensors(node, selection), True)

    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    stem = alone("stem.2", x)
    expected = torch.zeros(2, 2, 8, 8, dtype=torch.float64)
    for stride in (2, 4):
        node = weight[f"edge.1.2-{stride}"] * alone(f"l1.2-{stride}", stem)
        classes = alone(f"head.{stride}", 3 * node)
        expected += weight[f"end.{stride}"] * interpolate(classes, (8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(net(x, selection), expected)


def test_a_soft_cell_on_a_hard_path_needs_no_weights_of_edges() -> None:
    net, cells = WeightSharing(SPACE), {cell_name(*edge): Mix(OPERATIONS, (0.25,) * 4) for edge in CELL}
    selection = {**along((4, 8, 4)), **cells}
    assert net(images(), selection).shape == (4, 5, 24, 20)


def test_soft_strides_without_the_weights_of_edges_are_refused_in_one_line() -> None:
    mixed = {**along((2, 2, 2)), "stride.1": Mix((2, 4, 8), (1 / 3,) * 3)}
    with pytest.raises(HwnasError, match=r"l1.2-4, relaxed, needs 'edge.1.2-4'") as told:
        SPACE.lower(mixed)
    assert "a training rule made for this space" in str(told.value.hint)


@pytest.mark.parametrize("seed", range(3))
def test_a_found_path_is_a_file_that_gives_an_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = rng.standard_normal((4, 3, 24, 20)).astype(np.float32)
    for precision in ("fp32", "int8"):
        network = SPACE.lower({**SPACE.random(rng), "precision": precision})
        net = Net(network, seed).eval()
        quantised = calibrate(fold(network, net.arrays()), given, weight_bits=7)
        model = to_onnx(quantised, batch=None)
        onnx.checker.check_model(model, full_check=True)
        (found,) = exact_session(model).run(None, {"input": given})
        assert found.shape == (4, 5, 24, 20)
        if precision == "int8":
            np.testing.assert_array_equal(found, quantised(given), "integers all the way to the scores")
            continue
        with torch.no_grad():
            np.testing.assert_allclose(found, net(torch.from_numpy(given)).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"operations": ["conv"]}, "operations must be among"),
        ({"strides": (4, 12)}, "double from one to the next"),
        ({"strides": (3, 6)}, "power of two"),
        ({"strides": ()}, "strides must double"),
        ({"strides": (16, 32, 64)}, "stride 64 leaves nothing of images 48 x 48"),
        ({"layers": 0}, "at least 1"),
    ],
)
def test_what_makes_no_space_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        auto_deeplab(3, 10, **settings)


def test_a_trellis_knows_what_leads_where() -> None:
    assert TRELLIS.nodes(0) == (2,) and TRELLIS.nodes(1) == (2, 4) and TRELLIS.nodes(3) == (2, 4, 8)
    assert TRELLIS.targets(1, 4) == (2, 4, 8) and TRELLIS.sources(2, 8) == (4,) and TRELLIS.sources(3, 8) == (4, 8)
    assert [edge for edge in TRELLIS.edges() if edge[0] < 3] == [
        (1, 2, 2), (1, 2, 4), (2, 2, 2), (2, 2, 4), (2, 4, 2), (2, 4, 4), (2, 4, 8),
    ]  # fmt: skip
    assert Trellis.of(SPACE.restrict({"stride.2": [2]})) == TRELLIS
    with pytest.raises(HwnasError, match="no trellis"):
        Trellis.of(toy_space())
