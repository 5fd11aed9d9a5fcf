"""Exact costs of a search: what its files will be measured at, where that is not the sum of their parts."""

from __future__ import annotations

from hwnas.network import Network
from hwnas.paths import digest
from hwnas.pipeline.config import Target
from hwnas.pipeline.job import Job
from hwnas.protocols import Exact


def exact_costs(job: Job, target: Target) -> dict[str, Exact]:
    """By limited cost. A compiled library plans its memory; ONNX Runtime's own allocator cannot be asked beforehand, so
    its figure stays an estimate, and the report says so."""
    planned = job.device.connection != "made-up" and "peak_memory" in job.config.cost_limits
    return {"peak_memory": _arena(job, job.device.target)} if planned and target.engine == "tvm" else {}


def _arena(job: Job, machine: str) -> Exact:
    """The arena of a network's library, planned once for each network, over all runs into this folder."""
    from hwnas.export.native.arena import arena_bytes
    from hwnas.pipeline.identity import COMPILING, code_of

    name, mark, code = "arenas", [machine], code_of(COMPILING)
    known: dict[str, int] = dict(job.kept(name, mark, code) or {})

    def price(network: Network, /) -> float:
        key = digest([str(operator) for operator in network.operators])
        if key not in known:
            known[key] = arena_bytes(network, machine)
            job.keep(name, mark, known, code, replace=True)
        return float(known[key])

    return price
