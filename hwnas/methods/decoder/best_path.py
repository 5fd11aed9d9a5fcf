"""Best path: the path of largest product of edge weights through a trellis (Liu et al., CVPR 2019, arXiv:1901.02985).

    v(0, stem) = 1,  v(l, t) = max_s v(l-1, s) beta(l, s -> t)      Viterbi, 1967; the path is read backwards

Every other choice takes its option of largest weight, as `decoder.argmax` does, which would take each layer's likeliest
stride by itself, be it near the one before or not.
Differs: the paper keeps the two strongest inputs of a block of the cell; here a cell's edges are all there.
Baseline: `decoder.argmax`, and the path that takes the heaviest edge of every node it comes to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.errors import HwnasError
from hwnas.methods.decoder.argmax import Argmax
from hwnas.protocols import Evaluate, Supernet, TrainingRule
from hwnas.space import Architecture, Mix, SearchSpace, Selection
from hwnas.spaces.auto_deeplab import Trellis, edge_name, stride_name

__all__ = ["BestPath"]


class BestPath:
    """Reads the edges' weights out of the rule's `mixture()`; HwnasError, before training, for a rule without one."""

    def __init__(self, rule: TrainingRule) -> None:
        self.cell = Argmax(rule)

    def decode(self, net: Supernet, rule: TrainingRule, space: SearchSpace, evaluate: Evaluate) -> Architecture:
        from torch import no_grad

        trellis = Trellis.of(space)
        picked = self.cell.decode(net, rule, space, evaluate)
        with no_grad():
            weights = edge_weights(rule.mixture(), trellis, space)  # type: ignore[attr-defined]
        path = best_path(weights, start=0)  # the stem is at the first stride
        strides = {stride_name(i + 1): trellis.strides[place] for i, place in enumerate(path)}
        return space.architecture({**picked, **strides})


def edge_weights(selection: Selection, trellis: Trellis, space: SearchSpace) -> np.ndarray:
    """float64 (layers, strides, strides): the weight of the edge into a layer from one stride to another; 0 where there
    is none, or the space leaves the layer other strides. HwnasError where the selection gives an edge no weight."""
    weights = np.zeros((trellis.layers, len(trellis.strides), len(trellis.strides)))
    for layer, source, target in trellis.edges():
        found = selection.get(edge_name(layer, source, target))
        if not isinstance(found, Mix):
            raise HwnasError(
                f"the rule gives {edge_name(layer, source, target)} no weight", hint="train.rule: rule.auto_deeplab"
            )
        if target in space.by_name[stride_name(layer)].options:
            place = layer - 1, trellis.strides.index(source), trellis.strides.index(target)
            weights[place] = float(found.weights[0])
    return weights


def best_path(weights: np.ndarray | Sequence[np.ndarray], start: int) -> list[int]:
    """The node of every layer, from `weights` (layers, nodes, nodes) of at least 0, so that their product along the
    path from `start` is largest; the first such where several are. HwnasError where each path crosses a weight of 0."""
    nodes = len(weights[0])
    value = np.full(nodes, -np.inf)
    value[start] = 0.0
    came_from = []
    for layer in weights:
        with np.errstate(divide="ignore"):  # of logarithms, since a product of many small weights would be 0
            through = value[:, None] + np.log(np.asarray(layer, np.float64))
        came_from.append(through.argmax(axis=0))
        value = through.max(axis=0)
    if np.isnan(value).any() or value.max() == -np.inf:
        raise HwnasError("no path through the trellis has a weight above 0")
    path = [int(value.argmax())]
    for sources in came_from[:0:-1]:
        path.append(int(sources[path[-1]]))
    return path[::-1]
