"""Joins steps that one kernel computes in one pass: activations, residual additions and the next layer's signs.

Each rule replaces a producer and its only consumer; the float operations and their order stay the same, so a
fused net gives the same bits as the separate steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hwnas.export.native.ir import Graph, Step

#: activations that the float convolution's epilogue computes
CONV_ACTIVATIONS = ("relu", "hardswish", "relu6", "sigmoid")


def fuse(graph: Graph) -> Graph:
    """The graph with every rule applied until none fits."""
    steps = list(graph.steps)
    # 1-bit convolutions first: of two producers of one sum, theirs is the epilogue that also packs the next signs
    for rule in (
        _binary_prelu,
        _binary_residual,
        _binary_residual_prelu,
        _conv_activation,
        _conv_residual,
        _sum_activation,
    ):
        steps = _apply(steps, rule, graph.output)
    steps = _binary_signs(steps, graph.output)
    used = {name for step in steps for name in (*step.inputs, *step.outputs)} | {graph.input}
    return replace(graph, steps=tuple(steps), values={k: v for k, v in graph.values.items() if k in used})


Rule = Callable[[Step, Step], Step | None]


def _apply(steps: list[Step], rule: Rule, output: str) -> list[Step]:
    """Replaces (producer, only consumer) by what the rule returns, at the consumer's place."""
    changed = True
    while changed:
        changed = False
        for index, step in enumerate(steps):
            users = [other for other in steps if step.outputs[0] in other.inputs]
            if len(users) != 1 or len(step.outputs) != 1 or step.outputs[0] == output:
                continue
            joined = rule(step, users[0])
            if joined is not None:
                place = steps.index(users[0])
                steps = [*steps[:index], *steps[index + 1 : place], joined, *steps[place + 1 :]]
                changed = True
                break
    return steps


def _join(step: Step, user: Step, inputs: tuple[str, ...] | None = None, **attributes: object) -> Step:
    return replace(
        step,
        inputs=inputs or step.inputs,
        outputs=user.outputs,
        attributes={**step.attributes, **attributes},
        constants={**step.constants},
    )


def _conv_activation(step: Step, user: Step) -> Step | None:
    """conv_f32 -> Relu, Clip(0, 6) or HardSwish."""
    if step.kind != "conv_f32" or user.kind != "activation_f32" or "activation" in step.attributes:
        return None
    function = _function(user)
    return _join(step, user, activation=function) if function in CONV_ACTIVATIONS else None


def _conv_residual(step: Step, user: Step) -> Step | None:
    """conv_f32 (-> activation) -> Add: the sum comes last in both. Depthwise kernels add nothing."""
    if step.kind != "conv_f32" or not _sums_equals(user) or len(step.inputs) != 1:
        return None
    other = [name for name in user.inputs if name != step.outputs[0]]
    depthwise = step.integer("groups") > 1 and step.integer("groups") == len(step.constants["weight"])
    if len(other) != 1 or depthwise:
        return None
    return _join(step, user, (step.inputs[0], other[0]), residual=True)


def _sums_equals(step: Step) -> bool:
    """Whether the step adds two images of one shape: no epilogue broadcasts what it adds."""
    return step.kind == "add_f32" and len(step.inputs) == 2 and not step.attributes.get("broadcast")


def _sum_activation(step: Step, user: Step) -> Step | None:
    """add_f32 or mul_f32 -> Relu, Clip(0, 6), HardSwish or Sigmoid."""
    if step.kind not in ("add_f32", "mul_f32") or user.kind != "activation_f32" or "activation" in step.attributes:
        return None
    function = _function(user)
    return _join(step, user, activation=function) if function in CONV_ACTIVATIONS else None


def _function(step: Step) -> str:
    """The activation's name as kernels know it."""
    function = step.text("function")
    if function == "clip" and (step.attributes["low"], step.attributes["high"]) == (0.0, 6.0):
        return "relu6"
    return function


def _binary_prelu(step: Step, user: Step) -> Step | None:
    """binary_conv -> PRelu."""
    if step.kind != "binary_conv" or user.kind != "activation_f32" or len(step.inputs) != 1:
        return None
    if user.text("function") != "prelu" or "slope" in step.constants:
        return None
    joined = _join(step, user)
    return replace(joined, constants={**step.constants, "slope": user.constants["slope"]})


def _binary_residual(step: Step, user: Step) -> Step | None:
    """binary_conv (-> PRelu) -> Add(shortcut)."""
    if step.kind != "binary_conv" or not _sums_equals(user) or len(step.inputs) != 1:
        return None
    other = [name for name in user.inputs if name != step.outputs[0]]
    return _join(step, user, (step.inputs[0], other[0])) if len(other) == 1 else None


def _binary_residual_prelu(step: Step, user: Step) -> Step | None:
    """binary_conv -> Add(shortcut) -> PRelu, where no PRelu came before the sum."""
    if step.kind != "binary_conv" or user.kind != "activation_f32" or len(step.inputs) != 2:
        return None
    if user.text("function") != "prelu" or "slope" in step.constants:
        return None
    joined = _join(step, user, residual_first=True)
    return replace(joined, constants={**step.constants, "slope": user.constants["slope"]})


def _binary_signs(steps: list[Step], output: str) -> list[Step]:
    """binary_conv -> sign_pack: the signs leave the epilogue; the float stream stays where anything else reads it."""
    for step in [s for s in steps if s.kind == "binary_conv"]:
        users = [other for other in steps if step.outputs[0] in other.inputs]
        packs = [other for other in users if other.kind == "sign_pack"]
        if not packs:
            continue
        pack = packs[0]
        only_signs = len(users) == 1 and step.outputs[0] != output
        bare = only_signs and len(step.inputs) == 1 and "slope" not in step.constants
        outputs = (pack.outputs[0],) if bare else (step.outputs[0], pack.outputs[0])
        joined = replace(
            step,
            outputs=outputs,
            attributes={**step.attributes, "signs": True},
            constants={**step.constants, "threshold": pack.constants["threshold"]},
        )
        steps = [joined if other is step else other for other in steps if other is not pack]
    return steps
