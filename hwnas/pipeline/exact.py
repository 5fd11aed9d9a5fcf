"""Exact costs of a search: what its files will be measured at, where that is more than the sum of their parts.

The bytes of a file's constants and a library's arena follow from the network's shapes alone, so random weights tell
them before anything is trained further, calibrated or compiled. ONNX Runtime's own allocator cannot be asked
beforehand: its peak memory stays an estimate, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hwnas.network import Network
from hwnas.paths import digest
from hwnas.pipeline.config import Target
from hwnas.pipeline.job import Job
from hwnas.protocols import Exact


def exact_costs(job: Job, target: Target) -> dict[str, Exact]:
    """By name, those limited costs that the target's engine lets us price exactly."""
    limited = _limited(job, target)
    if not limited:
        return {}
    known = _remembered(job, target.engine, PRICED[target.engine][1])
    return {name: lambda network, name=name: known(network)[name] for name in limited}  # type: ignore[misc]


def _limited(job: Job, target: Target) -> list[str]:
    return [name for name in PRICED[target.engine][0] if name in job.config.cost_limits]


def exact_code(job: Job, target: Target) -> dict[str, str]:
    """Digests of the code that prices this target exactly; empty where nothing of it is limited."""
    return _code(target.engine) if _limited(job, target) else {}


def _code(engine: str) -> dict[str, str]:
    from hwnas.export.native.objects import sources_digest
    from hwnas.pipeline.identity import COMPILING, EXPORTING, NOT_EXPORTING, code_of

    kernels = {"kernels and TVM": sources_digest()[:16]} if engine == "tvm" else {}
    return code_of(EXPORTING, NOT_EXPORTING) | code_of(COMPILING) | kernels


def _remembered(
    job: Job, engine: str, price: Callable[[Job, Network], dict[str, int]]
) -> Callable[[Network], dict[str, float]]:
    """Every network is priced once, over all runs into this folder."""
    name, mark, code = f"exact-{engine}", [job.device.target], _code(engine)
    known: dict[str, Any] = dict(job.kept(name, mark, code) or {})

    def of(network: Network) -> dict[str, float]:
        key = digest([str(operator) for operator in network.operators])
        if key not in known:
            known[key] = price(job, network)
            job.keep(name, mark, known, code, replace=True)
        return {quantity: float(value) for quantity, value in known[key].items()}

    return of


def _library(job: Job, network: Network) -> dict[str, int]:
    from hwnas.export.native.arena import constant_bytes, planned

    program = planned(network, job.device.target)
    return {"size": constant_bytes(program), "peak_memory": program.arena_bytes}


def _model_file(job: Job, network: Network) -> dict[str, int]:
    from hwnas.export.onnx import network_model
    from hwnas.pipeline.timing import constant_bytes

    return {"size": constant_bytes(network_model(network).SerializeToString())}


# engine -> the quantities that its artefact decides, and how they are priced
PRICED: dict[str, tuple[tuple[str, ...], Callable[[Job, Network], dict[str, int]]]] = {
    "tvm": (("size", "peak_memory"), _library),
    "onnxruntime": (("size",), _model_file),
}
