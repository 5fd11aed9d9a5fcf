"""Exact costs of a search: what its files will be measured at, where that is more than the sum of their parts.

The bytes of a file's constants and a library's arena follow from the network's shapes alone, so random weights tell
them before anything is trained further, calibrated or compiled. What of it an engine knows, it says itself (`exact`):
ONNX Runtime's own allocator cannot be asked beforehand, so its peak memory stays an estimate from shapes: that of the
whole network, what waits for a later reader included, by which the file is judged; the report says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hwnas import ops
from hwnas.engines import engine_class
from hwnas.network import Network
from hwnas.pipeline.config import Target
from hwnas.pipeline.job import Job
from hwnas.pipeline.scoring import network_digest
from hwnas.protocols import Exact


def exact_costs(job: Job, target: Target) -> dict[str, Exact]:
    """By name, those limited costs that the target's engine lets us price exactly; and the peak memory by which a file
    for any other engine is judged, which in a graph is not that of its largest block."""
    found: dict[str, Exact] = {}
    if "peak_memory" in job.config.cost_limits:
        found["peak_memory"] = lambda network: float(ops.network_peak_bytes(network))
    limited = _limited(job, target)
    if limited:
        known = _remembered(job, target.engine)
        found |= {name: lambda network, name=name: known(network)[name] for name in limited}  # type: ignore[misc]
    return found


def _limited(job: Job, target: Target) -> list[str]:
    return [name for name in engine_class(target.engine).exact if name in job.config.cost_limits]


def exact_code(job: Job, target: Target) -> dict[str, str]:
    """Digests of the code that prices this target exactly; empty where nothing of it is limited."""
    return _code(target.engine) if _limited(job, target) else {}


def _code(engine: str) -> dict[str, str]:
    from hwnas.pipeline.identity import COMPILING, COMPILING_AXES, EXPORTING, NOT_EXPORTING, code_of, code_outside

    exported = code_of(EXPORTING, NOT_EXPORTING)
    return exported | code_of(COMPILING) | code_outside(*COMPILING_AXES) | dict(engine_class(engine).sources())


def _remembered(job: Job, engine: str) -> Callable[[Network], dict[str, float]]:
    """Every network is priced once, over all runs into this folder."""
    name, mark, code = f"exact-{engine}", [job.device.target], _code(engine)
    known: dict[str, Any] = dict(job.kept(name, mark, code) or {})

    def of(network: Network) -> dict[str, float]:
        key = network_digest(network)  # two cells of the same blocks keep other tensors waiting
        if key not in known:
            known[key] = engine_class(engine).price(network, job.device.target)
            job.keep(name, mark, known, code, replace=True)
        return {quantity: float(value) for quantity, value in known[key].items()}

    return of
