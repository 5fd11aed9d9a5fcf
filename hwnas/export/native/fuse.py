"""Joins steps that one kernel computes in one pass: activations, residual additions and the next layer's signs.

The operators say which (`FUSIONS`); here they are applied, each in one pass over the steps. The float operations and
their order stay the same, so a fused net gives the same bits as the separate steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hwnas.export.native.ir import Graph, Step
from hwnas.export.native.operator import StepFusion, operators


def fuse(graph: Graph) -> Graph:
    """The graph with every fusion applied wherever it fits."""
    steps: Sequence[Step] = graph.steps
    for fusion in operators().step_fusions:
        steps = _applied(steps, fusion, graph)
    used = {name for step in steps for name in (*step.inputs, *step.outputs)}
    kept = used | graph.ends | {graph.root(name) for name in used}
    return replace(graph, steps=tuple(steps), values={k: v for k, v in graph.values.items() if k in kept})


def _applied(steps: Sequence[Step], fusion: StepFusion, graph: Graph) -> list[Step]:
    """One pass in running order. A joined step is met again where it stands, if that is later."""
    places: list[Step | None] = list(steps)
    readers: dict[str, set[int]] = {}
    for index, each in enumerate(steps):
        for name in each.inputs:
            readers.setdefault(name, set()).add(index)
            readers.setdefault(graph.root(name), set()).add(index)
    first, second = fusion.pattern
    for index, step in enumerate(places):  # a joined step is seen where it was put
        if step is None or step.kind != first:
            continue
        using = sorted(i for i in readers.get(step.outputs[0], ()) if places[i] is not None)
        fits = ((i, u) for i in using if (u := places[i]) and u.kind == second and step.outputs[0] in u.inputs)
        fit = next(fits, None)
        if fit is None:
            continue
        place, user = fit
        alone = len(using) == 1 and len(step.outputs) == 1 and step.outputs[0] not in graph.ends
        joined = fusion.rewrite(step, user, alone)
        if isinstance(joined, Step):
            there, gone = (place, index) if fusion.place == "second" else (index, place)
            places[gone], places[there] = None, joined
            for name in joined.inputs:
                readers.setdefault(name, set()).add(there)
    return [step for step in places if step is not None]
