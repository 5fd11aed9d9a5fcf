"""Native operator: `subject` is the name of its file; a compiled example gives what ONNX Runtime gives."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from hwnas import find
from hwnas.export.native.graph import read_graph
from hwnas.export.native.operator import AXIS, Example, IntegerFusion, Kind, StepFusion
from hwnas.testing import hold


def defines_what_the_compiler_asks_for(subject: str) -> None:
    module = _module(subject)
    hold(all(isinstance(kind, Kind) for kind in module.KINDS.values()), "KINDS holds a Kind for every kind of step")
    fusions = all(isinstance(one, IntegerFusion | StepFusion) for one in module.FUSIONS)
    hold(isinstance(module.FUSIONS, tuple) and fusions, "FUSIONS is a tuple of fusions")
    declared = all(isinstance(one, Example) and one.operator in module.ONNX for one in module.EXAMPLES)
    hold(isinstance(module.EXAMPLES, tuple) and declared, "EXAMPLES is a tuple of examples of operators in ONNX")
    hold(callable(module.read), "read(reader, node) is a function")
    hold(not module.KINDS or callable(module.bind), "bind(lowering, step) is a function where there are KINDS")
    hold(find.summary(AXIS, subject).endswith("."), "the first docstring line is a sentence")


def an_example_gives_what_onnx_runtime_gives(subject: str, seeds: int = 3) -> None:
    """At sizes drawn at random; between DequantizeLinear and QuantizeLinear bit for bit."""
    from hwnas.testing.native import model_of, run_ends
    from hwnas.testing.onnx_runtime import exact_session

    for example, quantised in _cases(subject):
        for seed in range(seeds):
            model, arrays = model_of(example, quantised, seed)
            given = {item.name: x for item, x in zip(model.graph.input, arrays, strict=True)}
            where = f"{example.operator}{' of codes' * quantised}, seed {seed}"
            for expected, found in zip(exact_session(model).run(None, given), run_ends(model, *arrays), strict=True):
                alike = found.shape == expected.shape and found.dtype == expected.dtype
                hold(alike, f"{where}: {expected.dtype} {expected.shape}, got {found.dtype} {found.shape}")
                off = float(np.abs(found.astype(np.float64) - expected).max(initial=0.0))
                bound = 0.0 if quantised else example.tolerance * float(np.abs(expected).max(initial=0.0))
                hold(off <= bound, f"{where}: at most {bound:.3g} off what ONNX Runtime gives, got {off:.3g}")


def an_integer_kernel_takes_what_is_declared_quantised(subject: str) -> None:
    from hwnas.testing.native import model_of

    for example, quantised in _cases(subject):
        if quantised:
            graph = read_graph(model_of(example, True, 0)[0])
            hold(not graph.declined, f"{example.operator} of codes runs in integers: {graph.declined}")
            floats = [step.kind for step in graph.steps].count("dequantize")
            ends = example.outputs
            hold(
                floats == ends,
                f"{example.operator} of codes is dequantised at its {ends} ends alone, got {floats} times",
            )


def _module(name: str) -> ModuleType:
    return find.load(AXIS, name)


def _cases(name: str) -> list[tuple[Example, bool]]:
    return [(one, quantised) for one in _module(name).EXAMPLES for quantised in (False, True)[: 1 + one.quantised]]
