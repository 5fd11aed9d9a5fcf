"""The first run in a fresh process: what loading a model and running it once costs. Prints one line of JSON.

    python -m hwnas.measure.cold '{"engine": "onnxruntime", "path": "m.onnx", "options": {"threads": 1, "shapes": {}}}'

Importing the engine comes before the clock starts: a C or C++ program pays none of it. The file's pages are in memory.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hwnas import find
from hwnas.engines import AnyModel, Artefact, engine_class
from hwnas.errors import HwnasError

# A model that takes longer to load and run once than this is killed: a bench must end.
LONGEST_S = 600


def cold_us(artefact: Artefact) -> tuple[float, float]:
    """(loading, first run) in microseconds, in a process of its own.

    HwnasError with the reason where it fails: a file that crashes its engine ends that process, and not this one.
    """
    told = json.dumps({"engine": artefact.engine, "path": str(artefact.path), "options": dict(artefact.options)})
    command = [sys.executable, "-P", "-m", "hwnas.measure.cold", told]  # -P: what lies in the folder is not taken
    environment = os.environ | {find.ENVIRONMENT: ",".join(find.packages()[1:])}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_S, env=environment)
    except subprocess.TimeoutExpired:
        raise HwnasError(f"loading {artefact.path} and running it once takes longer than {LONGEST_S} s") from None
    if done.returncode < 0:
        raise HwnasError(f"{artefact.path} ends the process that runs it by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise HwnasError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300])
    load, first = json.loads(done.stdout.splitlines()[-1])
    return float(load), float(first)


def main(told: str) -> None:
    """Loads and runs the artefact that is `told`, in JSON."""
    given = json.loads(told)
    artefact = Artefact(given["engine"], Path(given["path"]), given["options"])
    engine = engine_class(artefact.engine)
    engine.installed_version()  # imports it
    if not issubclass(engine, AnyModel):
        raise HwnasError(f"{artefact.engine} runs networks of hwnas alone")
    start = time.perf_counter_ns()
    run = engine.load(artefact)
    loaded = time.perf_counter_ns()
    run()
    print(json.dumps([(loaded - start) / 1e3, (time.perf_counter_ns() - loaded) / 1e3]))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as problem:  # whatever an engine raises is one line for the process that asked
        sys.exit(" ".join(str(problem).split()) or type(problem).__name__)
