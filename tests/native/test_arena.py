"""The arena as a search prices it: exact for one network, and never below the bound that prunes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas import ops
from hwnas.export.native import compile_onnx
from hwnas.export.native.arena import arena_bound, planned
from hwnas.export.native.arena import constant_bytes as library_constants
from hwnas.export.onnx import network_model
from hwnas.network import Network
from hwnas.pipeline.timing import constant_bytes
from hwnas.space import SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.spaces.resnet_binary import resnet_binary

SPACES = (
    resnet_binary(1, 10, (8, 13, 16), 8, 1, ((8, 20), (16, 32)), (1, 2), (1, 2), (3, 5)),
    mobile(
        3, 7, resolutions=(16, 21), widths=((8, 12), (16, 20)), depths=(1, 2), strides=(1, 2), kernels=(3, 5),
        expansions=(1, 3), squeeze_excite=(False, True), precisions=("fp32", "int8", "w1a1"),
    ),
)  # fmt: skip


def bound_of(space: SearchSpace, network: Network) -> int:
    return max(arena_bound(operator, space.in_channels) for operator in network.operators)


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@pytest.mark.parametrize("target", ["x86-avx2", "cortex-m4"])
def test_the_bound_is_never_above_the_arena_of_random_networks(space: SearchSpace, target: str) -> None:
    rng, ratios = np.random.default_rng(3), []
    for _ in range(60):
        network = space.lower(space.random(rng))
        bound, program = bound_of(space, network), planned(network, target)
        arena, weights = program.arena_bytes, sum(map(ops.weight_bytes, network.operators))
        assert 0 < bound <= arena, network
        assert weights <= library_constants(program), "what prunes by size is a lower bound of the constants, too"
        assert weights <= constant_bytes(network_model(network).SerializeToString())
        ratios.append(arena / bound)
    assert np.median(ratios) < 2.0, "a bound that is far below prunes nothing"


def test_the_planned_arena_and_constants_are_those_of_the_compiled_library(tmp_path: Path) -> None:
    space = SPACES[0]
    network = space.lower(space.random(np.random.default_rng(0)))
    artefact = compile_onnx(network_model(network, seed=7), "host", tmp_path / "made")
    program = planned(network, "host")
    assert artefact.arena_bytes == program.arena_bytes
    assert artefact.constant_bytes == len(program.constants) <= library_constants(program)
