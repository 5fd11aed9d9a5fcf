"""Random ONNX graphs over all supported operators and the forms that are refused, with a bound of what may differ.

Every tensor carries `slack`: by how much a right compiler may differ from the model's meaning there. It starts at 0 and
grows by the rounding of float sums (a multiple of 2^-23 of what is summed), by one code at each QuantizeLinear whose
input was not exact, and by the gain of every operator (the sum of a row's absolute weights, the slope of a function).
Where it is still 0 at the output, the results must be equal in every bit; it counts no further than a tenth of the
range of the graph's outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from hwnas.export.native.operator import forms_of
from tests.native.nets import binary_conv_function
from tests.native.random_builder import Builder, Tensor
from tests.native.random_operators import MAKERS, conv_of_other_rank, tag_codes

#: the newest opset that ONNX Runtime runs
NEWEST = 26


@dataclass
class Sample:
    """One model, what it is made of, and how far its output may be off."""

    model: onnx.ModelProto
    forms: set[tuple[str, str]]
    slack: float

    @property
    def supported(self) -> bool:
        """Whether the docs say that it compiles."""
        declared = forms_of()
        known = {(op, form.name): form.supported for op, forms in declared.items() for form in forms}
        views = {(op, form.name) for op, forms in declared.items() for form in forms if form.reads == "view"}
        # a model of views alone computes nothing, and is refused
        return all(known[form] for form in self.forms) and not self.forms <= views

    @property
    def operators(self) -> set[str]:
        return {operator for operator, _ in self.forms}


def random_graph(seed: int) -> Sample:
    """The graph of this seed: 1 to 8 operators over one input, quantised everywhere, nowhere or in places."""
    random = np.random.default_rng(seed)
    opset = int(random.integers(7, NEWEST + 1))
    quantised = float(random.choice([0.0, 0.0, 0.5, 1.0])) if opset >= 10 else 0.0
    b = Builder(random, opset, binary=opset >= 18 and bool(random.random() < 0.4))
    rank = 2 if b.chance(0.2) else int(b.pick(3, 5)) if b.chance(0.02) else 4  # type: ignore[call-overload]
    # one size on all axes shows in the numbers that two axes were taken for each other
    one = b.size(1, 6) if b.chance(0.3) else 0
    shape = (1, *(one or b.size(1, 6) for _ in range(rank - 1)))
    pool_of = [Tensor("input", shape)]
    if b.chance(quantised):
        pool_of.append(b.quantise(pool_of[0]))
    wanted, made, tries = b.size(1, 8), 0, 0
    while made < wanted and tries < 200:
        tries += 1
        x = pool_of[-1] if b.chance(0.75) else pool_of[b.size(0, len(pool_of) - 1)]
        # no operator but Conv is made for other ranks; what it gives ends the graph
        y = (MAKERS[b.size(0, len(MAKERS) - 1)] if rank in (2, 4) else conv_of_other_rank)(b, x, pool_of)
        if y is None:
            continue
        made += 1
        if len(y.shape) not in (2, 4) or y.shape[0] != 1:
            pool_of.append(y)
            break
        if b.chance(quantised):
            like = next((t for t in pool_of if t.name == x.name), None) if b.chance(0.5) else None
            made_by, y = y, b.quantise(relu_before(b, y), like)
            tag_codes(b, made_by.name, x, y)
        pool_of.append(y)
    last = pool_of[-1]
    forms = {form for node in live(b.nodes, last.name) for form in b.forms_of.get(node.output[0], [])}
    return Sample(finished(b, shape, last, opset), forms, last.slack)


def relu_before(b: Builder, y: Tensor) -> Tensor:
    if b.chance(0.25):
        return replace(y, name=b.node("Relu", [y.name], "any"))
    return y


def live(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes that the output depends on."""
    needed, kept = {output}, []
    for node in reversed(nodes):
        if node.output[0] in needed:
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def finished(b: Builder, shape: tuple[int, ...], last: Tensor, opset: int) -> onnx.ModelProto:
    """The model whose output is `last`; nodes that nothing reads are left in it."""
    graph = helper.make_graph(
        b.nodes,
        "random",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last.name, TensorProto.FLOAT, last.shape)],
        b.constants,
    )
    binary = any(node.domain == "hwnas" for node in b.nodes)
    return helper.make_model(
        graph,
        functions=[binary_conv_function()] if binary else [],
        ir_version=10,
        opset_imports=[helper.make_opsetid("", opset), *([helper.make_opsetid("hwnas", 1)] if binary else [])],
    )
