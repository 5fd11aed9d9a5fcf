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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.confidence import interval
from hwnas.errors import HwnasError
from hwnas.export.quantise import QuantisedNet, places
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
    accuracies are in the metric of the task, which also says what the same answer is; `low` and `high` are the ends of
    the 95 % interval."""

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
    images: np.ndarray,
    labels: np.ndarray | None,
    expected: np.ndarray,
    tolerance: Tolerance,
    task: Task = Classify(),
) -> VerifyResult:
    """Run `artifact` (an .onnx file, or the folder of a native library) on images (N, ...) in a fresh process.

    A library for another machine runs under an emulator, on as many of the images as that does in seconds. `expected`
    are the reference's outputs for the same images. A difference is a result (`ok` is False), not an exception;
    HwnasError where the artefact does not load or run at all.
    """
    if len(images) == 0 or len(images) != len(expected):
        raise HwnasError(
            f"verification needs as many expected outputs as images, got {len(expected)} for {len(images)}"
        )
    artifact = Path(artifact)
    if not artifact.exists():
        raise HwnasError(f"{artifact} does not exist", hint="hwnas export writes it")
    emulated = _run_emulated(artifact, images) if artifact.is_dir() else None
    if emulated is not None:
        runtime, got = emulated
        some = None if labels is None else labels[: len(got)]
        return compared(artifact, runtime, got, some, expected[: len(got)].reshape(got.shape), tolerance, task)
    with tempfile.TemporaryDirectory(prefix="hwnas-verify-") as folder:
        samples, outputs = Path(folder) / "samples.npz", Path(folder) / "outputs.npy"
        np.savez(samples, images=images)
        answer = _run_fresh(artifact.resolve(), samples, outputs)
        got = np.load(outputs)
    return compared(artifact, str(answer["runtime"]), got, labels, expected, tolerance, task)


def _run_emulated(folder: Path, images: np.ndarray) -> tuple[str, np.ndarray] | None:
    """(runtime, outputs) of another machine's library on the first images; None where the library is this machine's,
    or where its folder is damaged, of which the fresh process tells."""
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
    return f"native {artifact.target} {how_it_runs(machine)}", run_artifact(folder, images[:count], TIMEOUT_S)


def _run_fresh(artifact: Path, samples: Path, outputs: Path) -> dict[str, Any]:
    """The runner's answer; `-I` keeps this folder, the working folder and PYTHON* variables out of the process."""
    command = [sys.executable, "-I", str(RUNNER), str(artifact), str(samples), str(outputs)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise HwnasError(
            f"{artifact} did not finish within {TIMEOUT_S:.0f} s", hint="verify on fewer samples"
        ) from None
    lines = done.stdout.strip().splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        raise HwnasError(f"{artifact} ended the process that ran it (exit {done.returncode})") from None
    if "error" in answer:
        raise HwnasError(f"{artifact} does not run: {answer['error']}", hint="export it again")
    return answer


def compared(
    artifact: Path,
    runtime: str,
    got: np.ndarray,
    labels: np.ndarray | None,
    expected: np.ndarray,
    tolerance: Tolerance,
    task: Task = Classify(),
) -> VerifyResult:
    """Judges outputs `got` (N, ...) of a file against the `expected` ones. HwnasError where their shapes differ."""
    if got.shape != expected.shape:
        raise HwnasError(f"{artifact} gives outputs {got.shape}, the reference {expected.shape}")
    count = len(expected)
    got_rows = got.reshape(count, -1).astype(np.float64)
    rows = expected.reshape(count, -1).astype(np.float64)
    difference = np.nan_to_num(np.abs(got_rows - rows), nan=np.inf, posinf=np.inf)  # a runtime's NaN fails
    off = difference / spread_of(rows)
    same_bits = got_rows == rows
    equal = float((same_bits | (off <= tolerance.rounding)).all(axis=1).mean())
    largest = float(off.max())
    lane = float(np.sqrt((np.minimum(off, 1e100) ** 2).mean(axis=0)).max())
    least = tolerance.least_equal(count)
    targets = None if labels is None else np.asarray(labels)
    judged = None if targets is None else task.statistics(got, targets)
    ends = (None, None) if judged is None else interval(task.reduce, judged)
    return VerifyResult(
        artifact=artifact.name,
        runtime=runtime,
        samples=count,
        outputs=int(got_rows.size),
        differing_outputs=int((~same_bits).sum()),
        max_abs_difference=min(float(difference.max()), FINITE),
        equal=equal,
        least_equal=least,
        largest=min(largest, FINITE),
        lane=min(lane, FINITE),
        same_answer=float(task.same(got, expected).mean()),
        accuracy=None if judged is None else task.reduce(judged),
        accuracy_low=ends[0],
        accuracy_high=ends[1],
        expected_accuracy=None if targets is None else task.reduce(task.statistics(expected, targets)),
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
