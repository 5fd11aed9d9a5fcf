"""The first run in a fresh process: what loading a model and running it once costs. Prints one line of JSON.

    python -m hwnas.measure.cold onnxruntime model.onnx 1 '{"x": [1, 3, 224, 224]}'
    python -m hwnas.measure.cold tvm <folder of a native library> 1 '{}'

Importing the engine comes before the clock starts: a C or C++ program pays none of it. The file's pages are in memory.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from hwnas.errors import HwnasError

# A model that takes longer to load and run once than this is killed: a bench must end.
LONGEST_S = 600


def cold_us(engine: str, artefact: Path, threads: int, shapes: Mapping[str, tuple[int, ...]]) -> tuple[float, float]:
    """(loading, first run) in microseconds, in a process of its own.

    HwnasError with the reason where it fails: a file that crashes its engine ends that process, and not this one.
    """
    arguments = [engine, str(artefact), str(threads), json.dumps(shapes)]
    command = [sys.executable, "-P", "-m", "hwnas.measure.cold", *arguments]  # -P: what lies in the folder is not taken
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        raise HwnasError(f"loading {artefact} and running it once takes longer than {LONGEST_S} s") from None
    if done.returncode < 0:
        raise HwnasError(f"{artefact} ends the process that runs it by {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise HwnasError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300])
    load, first = json.loads(done.stdout.splitlines()[-1])
    return float(load), float(first)


def main(engine: str, artefact: str, threads: str, shapes: str) -> None:
    if engine == "tvm":
        from hwnas.export.native.load import NativeModel

        start = time.perf_counter_ns()
        model = NativeModel(artefact)
        loaded = time.perf_counter_ns()
        model.run()
    else:
        from hwnas.measure.onnxruntime import SessionRunner

        wanted = {name: tuple(shape) for name, shape in json.loads(shapes).items()}
        start = time.perf_counter_ns()
        runner = SessionRunner(artefact, int(threads), shapes=wanted)
        loaded = time.perf_counter_ns()
        runner.first_run()
    print(json.dumps([(loaded - start) / 1e3, (time.perf_counter_ns() - loaded) / 1e3]))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as problem:  # whatever an engine raises is one line for the process that asked
        sys.exit(" ".join(str(problem).split()) or type(problem).__name__)
