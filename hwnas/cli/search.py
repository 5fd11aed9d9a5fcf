"""Search every target of a run file under its limits; prints the reachable range, the picks and the Pareto fronts."""

from __future__ import annotations

from hwnas.cli._job import Device, Limits, Out, RunPath, Trusted, job_of
from hwnas.cli._output import Json, keeping, print_json, progress_lines, results_console
from hwnas.units import readable_score


def search(
    run_file: RunPath,
    out: Out = None,
    limit: Limits = None,
    device: Device = None,
    trust: Trusted = None,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas search examples/quickstart.yaml
        hwnas search my.yaml --limit latency_ms=0.3 --limit size_kb=200

    Measures and trains first whatever is missing. A limit that nothing can meet is refused before that costs time.
    """
    from hwnas.pipeline.run import prepare, search_all
    from hwnas.search import compact

    job = job_of(run_file, out, limit, device, trust)
    kept = f"tables, checkpoints and scores so far, in {job.config.tables} and {job.config.folder}"
    with keeping(kept), job.claimed():
        found = search_all(job, prepare(job, progress_lines()))
    if json_output:
        print_json(
            [
                {
                    "target": one.target.name,
                    "reachable": one.reachable,
                    "pick": {**vars_of(one.result.pick)},
                    "front": [vars_of(t) for t in one.result.front],
                    "scored": len(one.result.trials),
                    "proposed": one.result.proposed,
                    "infeasible": one.result.infeasible,
                    "repeated": one.result.repeated,
                }
                for one in found
            ]
        )
        return
    console = results_console()
    for one in found:
        pick, counts = one.result.pick, one.result
        console.print(
            f"{one.target.name}: {len(counts.trials)} scored of {counts.proposed} proposed, "
            f"{counts.infeasible} over a limit"
        )
        for t in counts.front:
            mark = "*" if t.architecture == pick.architecture else " "
            score = readable_score(t.accuracy, one.result.unit)
            console.print(f" {mark} {score} " + " ".join(f"{n}={c:.6g}" for n, c in t.costs.items()))
        console.print(f"   {compact(pick.architecture)}")


def vars_of(trial: object) -> dict[str, object]:
    """A trial as plain JSON values."""
    from hwnas.search import Trial

    assert isinstance(trial, Trial)
    return {"accuracy": trial.accuracy, "costs": dict(trial.costs), "architecture": dict(trial.architecture)}
