"""MACs: multiply-accumulates of one inference, whatever their precision: the cost that needs no device.

    MACs(network) = sum over convolutions of H_out W_out k^2 C_in C_out / groups, and C_in C_out of a dense layer

Baseline: none; it is the baseline of every measured cost.
"""

from __future__ import annotations

from hwnas import ops
from hwnas.cost import OperatorCost

UNIT = "MACs"
LIMITS = {"macs": 1.0, "kmacs": 1e3, "mmacs": 1e6, "gmacs": 1e9}


def macs() -> OperatorCost:
    """Multiply-accumulates of one example; a 1-bit one counts as one."""
    return OperatorCost("macs", UNIT, lambda operator: float(ops.macs(operator)))
