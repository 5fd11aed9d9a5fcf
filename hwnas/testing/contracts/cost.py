"""Cost: `subject` is the name of a file of methods/cost; it says its unit, its limits and its cost by operator."""

from __future__ import annotations

import inspect

from hwnas import find
from hwnas.cost import OperatorCost
from hwnas.plug import HWNAS_ALONE, resolve
from hwnas.testing import hold

AXIS = "methods.cost"


def is_a_function_that_returns_an_operator_cost(subject: str) -> None:
    made = resolve(f"cost.{subject}", "methods", HWNAS_ALONE, (OperatorCost,))
    hold(inspect.isfunction(made) or inspect.isclass(made), f"cost.{subject} is a function of the file's name")


def names_its_limits_with_factors_to_its_unit(subject: str) -> None:
    limits, unit = find.value(AXIS, subject, "LIMITS"), find.value(AXIS, subject, "UNIT")
    hold(isinstance(unit, str) and unit, f"UNIT is a word, got {unit!r}")
    hold(1.0 in limits.values(), f"one limit is in the cost's own unit, {unit}: a factor of 1")
    hold(all(factor > 0 for factor in limits.values()), f"factors are above 0, got {limits}")


def has_limits_that_no_other_cost_names(subject: str) -> None:
    others = {limit for other in find.names(AXIS) if other != subject for limit in find.value(AXIS, other, "LIMITS")}
    shared = others & set(find.value(AXIS, subject, "LIMITS"))
    hold(not shared, f"a limit is of one cost, got {sorted(shared)} of another as well")
