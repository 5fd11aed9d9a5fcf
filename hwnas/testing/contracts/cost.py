"""Cost: `subject` is the name of a file of methods/cost; it says its unit, its limits and its cost by operator."""

from __future__ import annotations

import inspect
import math

from hwnas import find
from hwnas.cost import OperatorCost
from hwnas.plug import HWNAS_ALONE, needed_by, resolve
from hwnas.testing import hold
from hwnas.testing.toy import toy_space

AXIS = "methods.cost"


def is_a_function_that_returns_an_operator_cost(subject: str) -> None:
    made = resolve(f"cost.{subject}", "methods", HWNAS_ALONE, (OperatorCost,))
    hold(inspect.isfunction(made) or inspect.isclass(made), f"cost.{subject} is a function of the file's name")


def prices_every_operator_with_a_finite_number(subject: str) -> None:
    """Only of a cost that needs no device: what asks for tables is held to theirs."""
    made = resolve(f"cost.{subject}", "methods", HWNAS_ALONE, (OperatorCost,))
    if needed_by(made):
        return
    cost = made()
    for operator in toy_space().lower(toy_space().largest()).operators:
        price = cost.of(operator)
        hold(
            isinstance(price, float) and math.isfinite(price),
            f"{operator} has a finite float as price, got {price}",
        )


def names_its_limits_with_factors_to_its_unit(subject: str) -> None:
    limits, unit = find.value(AXIS, subject, "LIMITS"), find.value(AXIS, subject, "UNIT")
    hold(isinstance(unit, str) and unit, f"UNIT is a word, got {unit!r}")
    hold(1.0 in limits.values(), f"one limit is in the cost's own unit, {unit}: a factor of 1")
    hold(all(factor > 0 for factor in limits.values()), f"factors are above 0, got {limits}")


def has_limits_that_no_other_cost_names(subject: str) -> None:
    others = {limit for other in find.names(AXIS) if other != subject for limit in find.value(AXIS, other, "LIMITS")}
    shared = others & set(find.value(AXIS, subject, "LIMITS"))
    hold(not shared, f"a limit is of one cost, got {sorted(shared)} of another as well")
