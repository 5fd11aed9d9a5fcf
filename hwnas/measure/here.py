"""Times artefacts in this process: what a board does on the machine that it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwnas.boards import Timed
from hwnas.engines import Artefact, open_artefact
from hwnas.measure.canary import Canary
from hwnas.measure.energy import rapl_energy_uj
from hwnas.measure.harness import Plan, Runner, measure_together

CANARY = Artefact("", Path("canary"))  # of no engine: hwnas.measure.canary


def time_here(
    programs: Sequence[Artefact],
    plan: Plan | None = None,
    quantities: Sequence[str] = ("latency",),
    beside: Sequence[Artefact] = (),
) -> list[Timed | Exception]:
    """Loads all programs and times them in interleaved rounds, in this process (hwnas.measure.harness); then come those
    `beside` them, of which latency alone is asked.

    A program that fails to load or to run gives its exception. ImportError, MemoryError and OSError on loading go
    through: they are this machine's state, and a row of one would outlive its cause.
    """
    loaded = [_loaded(program) for program in (*programs, *beside)]
    runners = [runner for runner in loaded if not isinstance(runner, Exception)]
    timings = iter(measure_together(runners, plan))
    found: list[Timed | Exception] = []
    for runner in loaded:
        timed = runner if isinstance(runner, Exception) else next(timings)
        found.append(timed if isinstance(timed, Exception) else Timed(timed))
    if "energy" in quantities:
        for i, runner in enumerate(loaded[: len(programs)]):
            outcome = found[i]
            if isinstance(outcome, Timed) and not isinstance(runner, Exception):
                found[i] = Timed(outcome.timing, rapl_energy_uj(runner, outcome.timing.latency_us))
    return found


def _loaded(program: Artefact) -> Runner | Exception:
    try:
        return Canary() if program == CANARY else open_artefact(program)
    except (ImportError, MemoryError, OSError):
        raise
    except Exception as problem:  # a failed measurement is data
        return problem
