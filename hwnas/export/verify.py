"""Verify: the file itself, run in a fresh process that cannot see this package, against the reference's outputs.

What could go wrong between training and the file (a stale fold, a wrong layout, a truncated copy, a runtime's own
arithmetic) shows up here, on the samples that accuracy is quoted for.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.confidence import interval
from hwnas.errors import HwnasError
from hwnas.export.expected import arrays_of, first, length
from hwnas.export.quantise import Given, QuantisedNet, places
from hwnas.export.verify_runner import INPUT, OUTPUT
from hwnas.network import Layer, elements
from hwnas.ops.primitive import is_integer
from hwnas.protocols import Task
from hwnas.tasks.classify import Classify

RUNNER = Path(__file__).with_name("verify_runner.py")
TIMEOUT_S = 1800.0
FEW_SAMPLES = 8
FINITE = 1e300  # JSON has no infinity
EMULATED_MACS = 2_000_000_000  # an emulator does some 10^8 a second: more images would take minutes and show no more


# Two runtimes add the same float32 products in another order: about sqrt(n) * 2^-24 a layer, n up to some thousands.
# 4e-6 of the outputs' spread was the most seen on the test nets, and a hundred layers add up to some ten times that.
ROUNDING = 2e-4
# A sum that lies within its own rounding of a step (a code's edge, a sign's threshold) may fall on the other side.
# ONNX Runtime without its integer fusions, which adds float32 instead, did so for one value in a million (test nets).
# Three times that is allowed, since deeper nets pass their roundings on.
STEP_RATE = 3e-6
# What one such step changes at the outputs, as a share of their spread: 0.07 at most on nets of 10^4 values, less on
# larger ones. A lane computed wrongly differs by about its spread, on all samples.
STEP_EFFECT = 0.2
LARGEST_STEPS = 0.5


@dataclass(frozen=True)
class Tolerance:
    """How equal is equal enough. Differences are shares of an output's spread: its deviation over the samples.

    A sample is equal where every output is within `rounding`. `steps` is how many values of one image may be expected
    to fall on the other side of a step; from it follow the share of samples that may be unequal (exp(-steps) are
    equal), by how much at most, and how far any one output may be off over all samples (root mean square), which is
    what a wrong lane, channel or bias shows in. Both 0: bit for bit.
    """

    rounding: float
    steps: float

    @property
    def exact(self) -> bool:
        return self.rounding == 0.0 and self.steps == 0.0

    def least_equal(self, samples: int) -> float:
        """The share of samples that must be equal, less three standard errors of that many draws."""
        share = math.exp(-self.steps)
        return share if share == 1.0 else max(0.0, share - 3.0 * math.sqrt(share * (1 - share) / samples) - 1 / samples)

    @property
    def largest(self) -> float:
        """No output of any sample may differ by more."""
        return LARGEST_STEPS if self.steps else self.rounding

    def lane(self, samples: int) -> float:
        """No output may differ by more in the root mean square over the samples."""
        share = min(1.0, 1.0 - self.least_equal(samples))
        return max(self.rounding, STEP_EFFECT * math.sqrt(share))


EXACT = Tolerance(0.0, 0.0)


def tolerance_for(net: QuantisedNet, library: bool = False) -> Tolerance:
    """EXACT for an all-integer net in our own `library`, whose arithmetic is ours; else by the values that meet a step.

    ONNX Runtime's integer arithmetic equals the reference in the builds tested; which kernels it takes, and so the
    last bit before a rounding, is its own affair.
    """
    if library and net.is_exact:
        return EXACT
    values = sum(elements(place.layer.out_shape) for place in places(net.network) if _rounds(place.layer))
    return Tolerance(ROUNDING, STEP_RATE * values)


def _rounds(layer: Layer) -> bool:
    return is_integer(layer) or layer.kind in ("quantize", "binary_conv")


@dataclass(frozen=True)
class VerifyResult:
    """What the fresh process saw. Shares are of samples; `differing_outputs` counts single numbers; `largest` and
    `lane` are the largest difference and the worst output's root mean square, in its spread (see Tolerance). The
    accuracies are in the metric of the task, None without one, which also says what the same answer is (without one:
    equal to rounding); `low` and `high` are the ends of the 95 % interval."""

    artifact: str
    runtime: str
    samples: int
    outputs: int
    differing_outputs: int
    max_abs_difference: float
    equal: float
    least_equal: float
    largest: float
    lane: float
    same_answer: float
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    expected_accuracy: float | None
    exact_required: bool
    ok: bool

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "FAILED"
        if self.differing_outputs == 0:
            return f"{verdict}: bit-equal on {self.samples} samples ({self.runtime})"
        return (
            f"{verdict}: equal to rounding on {self.equal:.2%} of {self.samples} samples (at least "
            f"{self.least_equal:.2%}), off by at most {self.largest:.2g} and by {self.lane:.2g} in the worst output's "
            f"mean, of the outputs' spread; same answer on {self.same_answer:.2%} ({self.runtime})"
        )

    def record(self) -> dict[str, Any]:
        """For a manifest or a report."""
        return asdict(self)


def verify(
    artifact: Path,
    inputs: Given,
    targets: np.ndarray | None,
    expected: Given,
    tolerance: Tolerance,
    task: Task | None = Classify(),
) -> VerifyResult:
    """Run `artifact` (an .onnx file, or the folder of a native library) on inputs (N, ...) in a fresh process.

    `inputs` and `expected`, the reference's outputs for them, are an array (N, ...), or several by the names that the
    artefact gives them. A library for another machine runs under an emulator, on as many samples as that does in
    seconds. Without a task nothing but outputs is judged. A difference is a result (`ok` is False), not an exception;
    HwnasError where the artefact does not load or run at all, or has other inputs and outputs.
    """
    length(inputs, expected)
    artifact = Path(artifact)
    if not artifact.exists():
        raise HwnasError(f"{artifact} does not exist", hint="hwnas export writes it")
    emulated = _run_emulated(artifact, inputs) if artifact.is_dir() else None
    runtime, named = emulated if emulated is not None else _run_fresh(artifact.resolve(), inputs)
    got = _as_expected(artifact, named, expected)
    count = length(got)
    some = None if targets is None else np.asarray(targets)[:count]
    return compared(artifact, runtime, got, some, first(expected, count), tolerance, task)


def _as_expected(artifact: Path, named: Mapping[str, np.ndarray], expected: Given) -> Given:
    """An artefact's outputs as the reference gives its own: the only one, whatever its name, or all by name."""
    names = list(arrays_of(expected))
    if len(named) == len(names) == 1:
        (only,) = named.values()
        return {names[0]: only} if isinstance(expected, Mapping) else only
    if set(named) != set(names):
        raise HwnasError(
            f"{artifact} gives outputs {', '.join(named)}, the reference {', '.join(names) if names != [''] else 'one'}"
        )
    return {name: named[name] for name in names}


def _run_emulated(folder: Path, inputs: Given) -> tuple[str, dict[str, np.ndarray]] | None:
    """(runtime, outputs by name) of another machine's library on the first inputs; None where the library is this
    machine's, or where its folder is damaged, of which the fresh process tells."""
    from hwnas.export.native.artifact import open_artifact
    from hwnas.export.native.emulate import how_it_runs, run_artifact
    from hwnas.export.native.link import runs_here
    from hwnas.kernels.target import parse_target

    try:
        artifact = open_artifact(folder)
        machine = parse_target(artifact.target)
    except HwnasError:
        return None
    if runs_here(machine):
        return None
    artifact.check_files()
    count = max(FEW_SAMPLES, EMULATED_MACS // max(1, int(artifact.manifest.get("macs", 1))))
    found = run_artifact(folder, first(inputs, count), TIMEOUT_S)
    outputs = found if isinstance(found, tuple) else (found,)
    named = {end.name: array for end, array in zip(artifact.outputs, outputs, strict=True)}
    return f"native {artifact.target} {how_it_runs(machine)}", named


def _run_fresh(artifact: Path, inputs: Given) -> tuple[str, dict[str, np.ndarray]]:
    """(runtime, outputs by name) of a process of its own; `-I` keeps this folder, the working folder and PYTHON*
    variables out of it."""
    with tempfile.TemporaryDirectory(prefix="hwnas-verify-") as folder:
        samples, outputs = Path(folder) / "samples.npz", Path(folder) / "outputs.npz"
        np.savez(samples, **{f"{INPUT}{name}": array for name, array in arrays_of(inputs).items()})  # type: ignore[arg-type]
        command = [sys.executable, "-I", str(RUNNER), str(artifact), str(samples), str(outputs)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise HwnasError(
                f"{artifact} did not finish within {TIMEOUT_S:.0f} s", hint="verify on fewer samples"
            ) from None
        answer = _answer(artifact, done)
        with np.load(outputs) as held:
            return str(answer["runtime"]), {name.removeprefix(OUTPUT): held[name] for name in held.files}


def _answer(artifact: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The last line that the runner wrote; HwnasError where that is an error, or no answer."""
    lines = done.stdout.strip().splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        raise HwnasError(f"{artifact} ended the process that ran it (exit {done.returncode})") from None
    if "error" in answer:
        raise HwnasError(
            f"{artifact} does not run: {answer['error']}", hint="export it again, or give samples of its inputs"
        )
    return answer


@dataclass(frozen=True)
class Difference:
    """One output beside the reference's: which samples are `equal` (N,) to rounding, how many numbers of `outputs` are
    not the same, by how much at most, and `largest` and `lane` in the output's own spread (see Tolerance)."""

    equal: np.ndarray
    outputs: int
    differing: int
    max_abs: float
    largest: float
    lane: float


def _difference(got: np.ndarray, expected: np.ndarray, rounding: float) -> Difference:
    """Of two arrays (N, ...)."""
    count = len(expected)
    same = (got == expected).reshape(count, -1)  # in their own types: float64 does not tell all 64-bit integers apart
    got_rows, rows = (array.reshape(count, -1).astype(np.float64) for array in (got, expected))
    difference = np.nan_to_num(np.abs(got_rows - rows), nan=np.inf, posinf=np.inf)  # a runtime's NaN fails
    off = np.nan_to_num(difference / spread_of(rows), nan=np.inf, posinf=np.inf)  # so does one that is expected
    return Difference(
        equal=(same | ((off > 0) & (off <= rounding))).all(axis=1),
        outputs=int(rows.size),
        differing=int((~same).sum()),
        max_abs=float(difference.max()),
        largest=float(off.max()),
        lane=float(np.sqrt((np.minimum(off, 1e100) ** 2).mean(axis=0)).max()),
    )


def compared(
    artifact: Path,
    runtime: str,
    got: Given,
    targets: np.ndarray | None,
    expected: Given,
    tolerance: Tolerance,
    task: Task | None = Classify(),
) -> VerifyResult:
    """Judges outputs `got` (N, ...) of a file against the `expected` ones, each of several by its own spread.
    HwnasError where their shapes differ."""
    for (name, mine), wanted in zip(arrays_of(got).items(), arrays_of(expected).values(), strict=True):
        if mine.shape != wanted.shape:
            what = f" {name}" if name else ""
            raise HwnasError(f"{artifact} gives outputs{what} {mine.shape}, the reference {wanted.shape}")
    count = length(expected)
    pairs = zip(arrays_of(got).values(), arrays_of(expected).values(), strict=True)
    found = [_difference(mine, wanted, tolerance.rounding) for mine, wanted in pairs]
    equal = float(np.all([one.equal for one in found], axis=0).mean())
    largest, lane = max(one.largest for one in found), max(one.lane for one in found)
    least = tolerance.least_equal(count)
    judged, low, high, reached = None, None, None, None
    if task is not None and targets is not None:
        statistics = task.statistics(got, targets)
        judged, (low, high) = task.reduce(statistics), interval(task.reduce, statistics)
        reached = task.reduce(task.statistics(expected, targets))
    return VerifyResult(
        artifact=artifact.name,
        runtime=runtime,
        samples=count,
        outputs=sum(one.outputs for one in found),
        differing_outputs=sum(one.differing for one in found),
        max_abs_difference=min(max(one.max_abs for one in found), FINITE),
        equal=equal,
        least_equal=least,
        largest=min(largest, FINITE),
        lane=min(lane, FINITE),
        same_answer=equal if task is None else float(task.same(got, expected).mean()),
        accuracy=judged,
        accuracy_low=low,
        accuracy_high=high,
        expected_accuracy=reached,
        exact_required=tolerance.exact,
        ok=equal >= least and largest <= tolerance.largest and lane <= tolerance.lane(count),
    )


def spread_of(rows: np.ndarray) -> np.ndarray:
    """The spread of each output (outputs,) of expected rows (samples, outputs): its deviation over the samples.

    Never below a tenth of the mean spread: an output that hardly varies is judged beside the others. Too few samples to
    tell an output's own deviation are taken together.
    """
    own = rows.std(axis=0)
    whole = float(rows.std()) or float(np.abs(rows).max()) or 1.0
    if len(rows) < FEW_SAMPLES or not own.any():
        return np.full(rows.shape[1], whole)
    return np.maximum(own, 0.1 * float(own.mean()))
