"""Limits: which statistic is limited and whether it can be judged here; whether a file keeps each, as measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwnas.errors import CheckFailed, HwnasError
from hwnas.fidelity import NOISE_LIMIT, Fidelity
from hwnas.pipeline.job import Job
from hwnas.pipeline.timing import Measured


def refuse_unjudgeable(job: Job, fidelities: Mapping[tuple[str, str], Fidelity]) -> None:
    """HwnasError where the limited statistic repeats itself too badly here for a verdict to mean anything."""
    if "latency" not in job.config.cost_limits:
        return
    statistic = job.config.statistic
    for target in job.config.targets:
        fidelity = fidelities[target.precision, target.engine]
        noise = fidelity.judged(statistic).noise_floor
        if not fidelity.is_quiet(statistic):
            least = fidelity.judged("min").noise_floor
            other = f"limit latency_us, the minimum (it repeats to {least:.1%}), or " if least <= NOISE_LIMIT else ""
            raise HwnasError(
                f"target {target.name}: the {statistic} latency of one network differs by {noise:.1%} from timing to "
                f"timing here, above {NOISE_LIMIT:.0%}: a limit on it cannot be judged",
                hint=f"{other}stop what else runs on this machine; the same command then grades again",
            )


def verdicts(job: Job, measured: Measured) -> dict[str, bool]:
    """Whether a file keeps the limit of each limited quantity, as measured on the file, or as predicted where it was
    not timed; a quantity that is not even predicted of it (a twin's, in an engine without such tables) is left out."""
    found = {}
    for name, limit in job.config.cost_limits.items():
        value = measured.of(name, job.config.statistic)
        if value is None and measured.not_timed:
            continue
        if value is None:
            raise HwnasError(
                f"{name} is limited and cannot be measured on {job.device.name}", hint=f"drop the {name} limit"
            )
        found[name] = value <= limit
    return found


def fail_over_limit(messages: Sequence[str]) -> None:
    """CheckFailed with every breach, after everything else was written."""
    if messages:
        raise CheckFailed("; ".join(messages), hint="run again on an idle machine, or loosen the limit")
