"""Spaces: values not indices, lowering hard and soft, restriction and products."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.space import Architecture, Choice, Mix, SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.testing import contract

SPACES = {
    "mobile": mobile(3, 10, (32, 64), 16, 2, ((16, 24), (32, 40)), (1, 2), (2, 2), (3, 5), (3, 6)),
    "mobile with a last convolution": mobile(3, 10, (32,), 8, 2, ((16,), (24,)), (1, 2), (2, 2), last_width=48),
    "resnet_binary": resnet_binary(1, 10, (8, 16), 8, 1, ((8, 16), (16, 32)), (1, 2), (1, 2), (3,)),
    "resnet_binary, one precision": resnet_binary(1, 10, (8,), 8, 1, (8, 16), (1, 3), (1, 2), (3,), ("int8",)),
}


@pytest.fixture(params=SPACES, ids=list(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


def drawn(space: SearchSpace, count: int = 50) -> list[Architecture]:
    rng = np.random.default_rng(0)
    return [space.random(rng) for _ in range(count)]


def test_every_architecture_lowers_to_a_chain_whose_shapes_and_formats_meet(space: SearchSpace) -> None:
    for architecture in [space.smallest(), space.largest(), *drawn(space)]:
        network = space.lower(architecture)
        shape, integer = network.input_shape, False
        for node in network:
            operator = node.operator
            assert operator.input_shape == shape
            if operator.kind == "convert":
                assert (operator.precision == "int8") != integer, "a conversion changes the format"
            else:
                assert (operator.precision == "int8") == integer, f"{operator} is given the wrong format"
            shape, integer = operator.output_shape, operator.precision == "int8"
        assert shape == (space.classes,) and not integer


test_every_space = contract("space", *SPACES.values())


def test_the_joint_space_of_two_has_the_choices_and_slots_of_both() -> None:
    one, recipe = SPACES["resnet_binary"], SearchSpace("recipe", (Choice("rate", (0.1, 0.2)),), (), 1, 10)
    joint = one.times(recipe, "recipe.")
    architecture = joint.smallest()
    assert architecture["recipe.rate"] == 0.1
    assert joint.lower(architecture) == one.lower({k: v for k, v in architecture.items() if k in one.by_name})


def test_a_soft_selection_lowers_to_weighted_nodes_whose_weights_sum_to_one() -> None:
    space = SPACES["mobile"]
    soft = dict(space.largest())
    soft["s0.b0.kernel"] = Mix((3, 5), (0.25, 0.75))
    soft["s0.b0.expansion"] = Mix((3, 6), (0.5, 0.5))
    network = space.lower(soft)
    options = [node for node in network if node.name.startswith("s0.b0/")]
    assert sorted(node.probability for node in options) == [0.125, 0.125, 0.375, 0.375]
    mix = next(node for node in network if node.name == "s0.b0")
    assert mix.inputs == tuple(node.name for node in options) and sum(mix.weights) == 1.0
    assert {node.inputs for node in options} == {("stem",)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"resolution": 9}, "resolution must be one of"),
        ({"s0.widht": 8}, "nearest: s0.width"),
        ({"s1.depth": None}, "s1.depth must be one of"),
    ],
)
def test_a_wrong_architecture_is_refused_by_name(change: dict[str, object], told: str) -> None:
    space = SPACES["resnet_binary"]
    with pytest.raises(HwnasError, match=told):
        space.architecture({**space.smallest(), **change})


def test_options_that_make_no_space_are_refused() -> None:
    with pytest.raises(HwnasError, match="widths must list options for each of the 2 stages"):
        resnet_binary(1, 10, widths=((8,), (16,), (32,)), strides=(1, 2))
    with pytest.raises(HwnasError, match="kernels must be odd"):
        mobile(3, 10, kernels=(4,))
    with pytest.raises(HwnasError, match="precisions must be among"):
        mobile(3, 10, precisions=("fp16",))
    with pytest.raises(HwnasError, match="depths and strides make 4294967296 blocks"):
        mobile(3, 10, depths=(2, 2**31), widths=((8,), (16,)), strides=(1, 2))
    with pytest.raises(HwnasError, match="leaves none"):
        SPACES["mobile"].restrict({"s*.kernel": [9]})
