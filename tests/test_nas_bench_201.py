"""The NAS-Bench-201 space: what a cell computes, what unread edges cost, supernet and files, the published table."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
import torch

from hwnas import ops
from hwnas.cost import Costing, OperatorCost
from hwnas.errors import HwnasError
from hwnas.export.onnx import to_onnx
from hwnas.export.quantise import calibrate, fold
from hwnas.space import Architecture, Mix
from hwnas.spaces.nas_bench_201 import EDGES, OPERATIONS, edge_name, nas_bench_201
from hwnas.supernet import Net, WeightSharing, extract
from tests.exact import exact_session

SPACE = nas_bench_201(3, 10, width=4, cells=1, image_size=(8, 8))
COST = OperatorCost("macs", "MAC", lambda operator: 1.0 + ops.macs(operator))  # 1: so that every node counts


def cell(*operations: str) -> Architecture:
    edges = {edge_name(*edge): op for edge, op in zip(EDGES, operations, strict=True)}
    return SPACE.architecture({**edges, "precision": "fp32"})


def test_the_space_has_the_benchmark_s_15625_cells() -> None:
    assert SPACE.size == 15625 * 2 and tuple(SPACE.by_name["edge.0-1"].options) == OPERATIONS


def test_a_cell_is_the_sum_over_its_edges() -> None:
    """With skip and pool alone a cell has no weights: computed here by its definition."""
    from torch.nn.functional import avg_pool2d

    kinds = ("avg_pool_3x3", "skip_connect", "skip_connect", "skip_connect", "none", "avg_pool_3x3")
    net = WeightSharing(SPACE).double()
    network = SPACE.lower(cell(*kinds))
    names = {node.name: node for node in network}
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)

    def pooled(value: torch.Tensor) -> torch.Tensor:
        return avg_pool2d(value, 3, 1, 1, count_include_pad=False)

    def run(name: str, values: dict[str, torch.Tensor]) -> torch.Tensor:
        node = names[name]
        return ops.forward(node.operator, [values[source] for source in node.inputs], {}, True)

    values = {"stem": x}
    for node in network:
        if node.name.startswith("s0."):
            values[node.name] = run(node.name, values)
    one = pooled(x)
    two = x + one
    torch.testing.assert_close(values["s0.c0.n3"], x + pooled(two))
    assert net.space is SPACE


def test_a_costing_is_the_cost_of_the_lowered_network_for_every_cell() -> None:
    """Unread edges and nodes are pruned from the network, and must cost nothing in the table's sum either."""
    costing, rng = Costing(SPACE, COST), np.random.default_rng(0)
    some = [SPACE.random(rng) for _ in range(400)]
    some += [cell(*("none",) * 6), cell("nor_conv_3x3", "none", "none", "skip_connect", "none", "nor_conv_3x3")]
    np.testing.assert_allclose(costing(some), [COST(SPACE.lower(one)) for one in some])
    bounds = costing.bounds()
    assert bounds.low == COST(SPACE.lower(bounds.smallest)) and bounds.high == COST(SPACE.lower(bounds.largest))


def test_the_supernet_and_the_net_taken_out_of_it_agree_on_any_cell() -> None:
    net, images = WeightSharing(SPACE), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(1)
    real = SPACE.restrict({"precision": ["fp32"]})
    for architecture in [real.random(rng) for _ in range(12)] + [cell(*("none",) * 6)]:
        alone = extract(net, architecture).train()
        torch.testing.assert_close(alone(images), net(images, architecture), rtol=1e-4, atol=1e-4)


def test_a_one_hot_mixture_is_the_hard_cell_and_private_weights_are_not_shared() -> None:
    net, images = WeightSharing(SPACE), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    architecture = {**SPACE.random(np.random.default_rng(5)), "precision": "fp32"}
    soft = {
        name: Mix(OPERATIONS, torch.tensor([float(option == value) for option in OPERATIONS]))
        for name, value in architecture.items()
        if name != "precision"
    } | {"precision": "fp32"}
    torch.testing.assert_close(net(images, soft), net(images, architecture), rtol=1e-4, atol=1e-4)
    edge = [slot.name for slot in SPACE.slots].index("s0.c0.0-1")
    held = [name for name, _ in net.stages[edge].named_parameters() if name.endswith("weight")]
    assert len(held) == 2, "a 1x1 and a 3x3 of their own on an edge, which fp32 and int8 share"


def test_without_affine_no_edge_can_rescale_itself() -> None:
    space = nas_bench_201(3, 10, width=4, cells=1, image_size=(8, 8), affine=False)
    edges = [op for slot in space.slots if "-" in slot.name for op in space.operators_of(slot)]
    assert edges and all(set(ops.parameters(op)) <= {"conv.weight"} for op in edges)


@pytest.mark.parametrize("seed", range(3))
def test_a_found_cell_is_a_file_that_computes_what_it_learnt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((4, 3, 8, 8)).astype(np.float32)
    for precision in ("fp32", "int8"):
        network = SPACE.lower({**SPACE.random(rng), "precision": precision})
        net = Net(network, seed).eval()
        quantised = calibrate(fold(network, net.arrays()), images, weight_bits=7)
        model = to_onnx(quantised, batch=None)
        onnx.checker.check_model(model, full_check=True)
        (found,) = exact_session(model).run(None, {"input": images})
        if precision == "int8":
            np.testing.assert_array_equal(found, quantised(images), "integers all the way")
            continue
        with torch.no_grad():
            np.testing.assert_allclose(found, net(torch.from_numpy(images)).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"operations": ["conv"]}, "operations must be among"),
        ({"image_size": (30, 32)}, "multiples of 4"),
        ({"cells": 0}, "at least 1"),
    ],
)
def test_what_makes_no_space_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        nas_bench_201(3, 10, **settings)  # type: ignore[arg-type]


def test_every_way_through_a_cell_keeps_its_shape() -> None:
    for kinds in itertools.islice(itertools.product(OPERATIONS[:2], repeat=6), 64):
        assert SPACE.lower(cell(*kinds)).output_shape == (10,)
