"""Best-path decoding: Viterbi by hand, against every path there is, and against the greedy one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.methods.decoder.argmax import Argmax
from hwnas.methods.decoder.best_path import BestPath, best_path, edge_weights
from hwnas.methods.rule.auto_deeplab import AutoDeepLab
from hwnas.space import Mix, SearchSpace, Selection
from hwnas.spaces.auto_deeplab import Trellis, auto_deeplab, edge_name, end_name, stride_name

SPACE = auto_deeplab(3, 5, (16, 16), layers=3, strides=(2, 4, 8), width=2)
TRELLIS = Trellis.of(SPACE)
# From node 0 the heaviest edges lead 0 -> 1 -> 2 -> 2, 0.6 * 0.4 * 0.6; the best path stays, 0.4 * 0.9 * 0.9.
WEIGHTS = np.array(
    [
        [[0.4, 0.6, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        [[0.9, 0.1, 0.0], [0.3, 0.3, 0.4], [0.0, 0.0, 0.0]],
        [[0.9, 0.1, 0.0], [0.5, 0.2, 0.3], [0.0, 0.4, 0.6]],
    ]
)


def product(weights: np.ndarray, path: Sequence[int], start: int = 0) -> float:
    places = [start, *path]
    return math.prod(weights[layer][a, b] for layer, (a, b) in enumerate(itertools.pairwise(places)))


def greedy(weights: np.ndarray, start: int = 0) -> list[int]:
    path = [start]
    for layer in weights:
        path.append(int(layer[path[-1]].argmax()))
    return path[1:]


def drawn(seed: int, layers: int = 6, nodes: int = 4) -> np.ndarray:
    """Weights as softmaxes give them: over the neighbours of each node, some nearly 0."""
    rng = np.random.default_rng(seed)
    near = np.abs(np.subtract.outer(np.arange(nodes), np.arange(nodes))) <= 1
    raw = np.exp(rng.normal(0, rng.choice([0.1, 3.0, 30.0]), (layers, nodes, nodes))) * near
    found: np.ndarray = raw / raw.sum(axis=2, keepdims=True)
    return found


class Weighed:
    """A rule whose mixture is given."""

    def __init__(self, weights: np.ndarray, space: SearchSpace = SPACE) -> None:
        places = {stride: i for i, stride in enumerate(TRELLIS.strides)}
        self.found: dict[str, Any] = dict(space.largest())
        for layer, source, target in TRELLIS.edges():
            weight = float(weights[layer - 1][places[source], places[target]])
            self.found[edge_name(layer, source, target)] = Mix((True,), (weight,))
        for layer in range(1, TRELLIS.layers + 1):
            self.found[stride_name(layer)] = Mix(TRELLIS.strides, (0.1, 0.1, 0.8))
        self.found["cell.0-1"] = Mix(SPACE.by_name["cell.0-1"].options, (0.1, 0.2, 0.4, 0.3))
        self.found |= {end_name(stride): Mix((True,), (1 / 3,)) for stride in TRELLIS.strides}

    def mixture(self) -> Selection:
        return self.found

    def groups(self, net: Any) -> Any:
        return {}

    def steps(self, net: Any, batch: Any) -> Any:
        yield from ()


def strides_of(architecture: Any) -> list[int]:
    return [int(architecture[stride_name(layer)]) for layer in range(1, TRELLIS.layers + 1)]


def test_the_best_path_of_a_trellis_by_hand_is_not_the_greedy_one() -> None:
    assert greedy(WEIGHTS) == [1, 2, 2] and product(WEIGHTS, [1, 2, 2]) == pytest.approx(0.144)
    assert best_path(WEIGHTS, 0) == [0, 0, 0] and product(WEIGHTS, [0, 0, 0]) == pytest.approx(0.324)


@pytest.mark.parametrize("seed", range(30))
def test_the_best_path_is_the_best_of_all_paths_and_never_below_the_greedy_one(seed: int) -> None:
    weights = drawn(seed)
    found = best_path(weights, 0)
    every = max(product(weights, path) for path in itertools.product(range(4), repeat=6))
    assert product(weights, found) == pytest.approx(every, rel=1e-9)
    assert product(weights, found) >= product(weights, greedy(weights)) * (1 - 1e-12)
    assert all(abs(a - b) <= 1 for a, b in itertools.pairwise([0, *found])), "a path of single steps, connected"


def test_a_product_of_many_small_weights_is_still_compared() -> None:
    weights = np.full((400, 2, 2), 1e-200)
    weights[:, 1, 1] = 1.001e-200
    assert best_path(weights, 0)[1:] == [1] * 399


def test_a_trellis_without_a_path_is_refused() -> None:
    with pytest.raises(HwnasError, match="no path"):
        best_path(np.zeros((2, 3, 3)), 0)


def test_the_decoder_takes_the_path_whole_and_the_cell_by_its_largest_weights() -> None:
    rule = Weighed(WEIGHTS)
    found = BestPath(rule).decode(None, rule, SPACE, None)  # type: ignore[arg-type]
    assert strides_of(found) == [2, 2, 2] and found["cell.0-1"] == "conv_3x3"
    alone = Argmax(rule).decode(None, rule, SPACE, None)  # type: ignore[arg-type]
    assert strides_of(alone) == [8, 8, 8], "layer by layer the stem would jump over a stride"


def test_a_space_with_fewer_strides_in_a_layer_is_decoded_within_them() -> None:
    rule, narrow = Weighed(WEIGHTS), SPACE.restrict({"stride.2": [8], "precision": ["fp32"]})
    found = BestPath(rule).decode(None, rule, narrow, None)  # type: ignore[arg-type]
    assert strides_of(found) == [4, 8, 8] and found["precision"] == "fp32"


def test_what_gives_edges_no_weights_is_refused_in_one_line() -> None:
    rule = Weighed(WEIGHTS)
    del rule.found["edge.2.4-8"]
    with pytest.raises(HwnasError, match=r"edge.2.4-8 no weight"):
        edge_weights(rule.mixture(), TRELLIS, SPACE)


def test_decoding_a_rule_twice_gives_one_architecture_of_the_space() -> None:
    for seed in range(3):
        rule = AutoDeepLab(SPACE, None, seed)  # type: ignore[arg-type]
        once, again = (BestPath(rule).decode(None, rule, SPACE, None) for _ in range(2))  # type: ignore[arg-type]
        assert once == again == SPACE.architecture(once)
