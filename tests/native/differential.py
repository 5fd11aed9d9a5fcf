"""Compiles random graphs with the real kernels and compares them with ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from hwnas.errors import HwnasError
from hwnas.export.native.compile import plan_model
from hwnas.export.native.lower import KernelCall
from hwnas.export.native.program import Program
from hwnas.testing.native import Objects, played_ends, run_ends
from tests.native.random_graphs import Sample, random_graph

#: graphs whose kernels are compiled into one object: the compiler's fixed cost is paid once a group
GROUP = 25
#: inputs tried on every graph: the range of their outputs is the signal, also where one output is one number
DRAWS = 4
#: the bound grows by the worst case of every step, over eight of them beyond what a graph gives at all: a wrong result
#: must not pass for that. The most seen is 0.011 of the range of a graph's outputs, where one code was another.
MOST_OF_SIGNAL = 0.1

#: seed, graph, its program or why there is none, its kernels
Planned = tuple[int, Sample, Program | str, dict[str, KernelCall]]


@dataclass(frozen=True)
class Outcome:
    """What became of one graph: "equal", "within" its bound, "refused", "invalid" (no runtime takes it) or "wrong"."""

    seed: int
    sample: Sample
    verdict: str
    reason: str = ""


def outcomes(
    seeds: Iterable[int], target: str = "host", make: Callable[[int], Sample] = random_graph
) -> Iterator[Outcome]:
    """The outcome of the graph that `make` makes of every seed, in order."""
    from hwnas.kernels.target import parse_target

    machine, group = parse_target(target), list[Planned]()
    with tempfile.TemporaryDirectory() as folder:
        objects = Objects(Path(folder), machine)
        for seed in seeds:
            sample = make(seed)
            try:
                program, kernels = plan_model(sample.model, machine)
                group.append((seed, sample, program, dict(kernels)))
            except HwnasError as error:
                group.append((seed, sample, str(error), {}))
            if len(group) == GROUP:
                yield from _judged(group, objects)
                group.clear()
        yield from _judged(group, objects)


def _judged(group: list[Planned], objects: Objects) -> Iterator[Outcome]:
    objects.add({symbol: call for _, _, _, kernels in group for symbol, call in kernels.items()})
    for seed, sample, program, kernels in group:
        xs = _inputs(seed, sample.model)
        expected, problem = list[list[np.ndarray]](), ""
        for optimised in (False, True):
            try:
                expected.append(run_onnx(sample.model, xs, optimised))
            except Exception as error:  # ONNX Runtime raises many kinds for a model it refuses
                problem = problem or " ".join(str(error).split())[:200]
                if not optimised:  # else its optimiser fell over a model that it runs
                    break
        if not expected:
            yield Outcome(seed, sample, "invalid", problem)
            continue
        if isinstance(program, str):
            yield Outcome(seed, sample, "refused", program)
            continue
        yield _compared(seed, sample, _played(program, objects, list(kernels), xs), expected)


def _inputs(seed: int, model: onnx.ModelProto) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    drawn = [random.normal(size=shape).astype(np.float32) for _ in range(DRAWS)]
    return [np.clip(x * np.float32(1.5), -4, 4) for x in drawn]


def _played(program: Program, objects: Objects, symbols: list[str], xs: list[np.ndarray]) -> list[np.ndarray]:
    """The program's output for every input, one after the other in the same memory."""
    return [found[0] for found in played_ends(program, objects, symbols, [(x,) for x in xs])]


def run_native(model: onnx.ModelProto, *arrays: np.ndarray) -> np.ndarray:
    """The compiled model's output for one sample of every input."""
    return run_ends(model, *arrays)[0]


def _compared(seed: int, sample: Sample, found: list[np.ndarray], expected: list[list[np.ndarray]]) -> Outcome:
    """`expected` as the model says it, and as ONNX Runtime fuses it."""
    if found[0].shape != expected[0][0].shape:
        return Outcome(seed, sample, "wrong", f"shape {found[0].shape}, not {expected[0][0].shape}")
    meant = np.stack(expected[0])
    if all(any(np.array_equal(one, other[i]) for other in expected) for i, one in enumerate(found)):
        return Outcome(seed, sample, "equal")
    off, signal = float(np.abs(np.stack(found) - meant).max()), float(np.ptp(meant))
    bound = min(sample.slack, MOST_OF_SIGNAL * signal)
    told = f"off by {off:.4g} of {signal:.4g}, at most {bound:.4g}"
    return Outcome(seed, sample, "within" if off <= bound else "wrong", told)


def run_onnx(model: onnx.ModelProto, xs: list[np.ndarray], optimised: bool) -> list[np.ndarray]:
    """The outputs of ONNX Runtime on one thread: as the model says it, or fused to integer operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return [np.asarray(session.run(None, {"input": x})[0]) for x in xs]
