"""Verify: the file itself, run in a fresh process that cannot see this package, against the reference's outputs.

What could go wrong between training and the file (a stale fold, a wrong layout, a truncated copy, a runtime's own
arithmetic) shows up here, on the samples that accuracy is quoted for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.export.quantise import QuantisedNet, places

RUNNER = Path(__file__).with_name("verify_runner.py")
TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Tolerance:
    """How equal is equal enough.

    `relative` bounds |got - expected| by that share of the largest |expected|; `within` is the share of samples that
    must keep to it in every output; `same_class` the share whose largest output must stay the same.
    """

    relative: float
    within: float
    same_class: float

    @property
    def exact(self) -> bool:
        return self.relative == 0.0


EXACT = Tolerance(0.0, 1.0, 1.0)
# Two runtimes add the same float32 products in another order: about sqrt(n) * 2^-24 a layer, n up to some thousands,
# over tens of layers: below 1e-4 of the range. Two classes within that of each other may swap.
ROUNDING = Tolerance(1e-4, 1.0, 0.998)
# A float32 sum that then meets a step (a sign, a rounding to codes) may, where it lies within its own rounding of the
# step, fall on the other side. One such value among the ~1e5 of an image changes a few sums of the next layer by one
# step each, so single images differ visibly while a wrong kernel would change all: half of the images must be equal to
# rounding, and the classes of nearly all.
STEPS = Tolerance(1e-3, 0.5, 0.99)


def tolerance_for(net: QuantisedNet) -> Tolerance:
    """EXACT where all arithmetic is integer, ROUNDING for pure float32, STEPS where float sums feed signs or codes."""
    if net.is_exact:
        return EXACT
    steps = any(place.layer.kind in ("binary_conv", "quantize") for place in places(net.network))
    return STEPS if steps else ROUNDING


@dataclass(frozen=True)
class VerifyResult:
    """What the fresh process saw. Shares are of samples; `differing_outputs` counts single numbers."""

    artifact: str
    runtime: str
    samples: int
    outputs: int
    differing_outputs: int
    max_abs_difference: float
    within: float
    same_class: float
    accuracy: float | None
    expected_accuracy: float | None
    exact_required: bool
    ok: bool

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "FAILED"
        if self.differing_outputs == 0:
            return f"{verdict}: bit-equal on {self.samples} samples ({self.runtime})"
        return (
            f"{verdict}: {self.differing_outputs} of {self.outputs} outputs differ, by at most "
            f"{self.max_abs_difference:.3g}; same class on {100 * self.same_class:.2f} % of {self.samples} samples "
            f"({self.runtime})"
        )

    def record(self) -> dict[str, Any]:
        """For a manifest or a report."""
        return asdict(self)


def verify(
    artifact: Path, images: np.ndarray, labels: np.ndarray | None, expected: np.ndarray, tolerance: Tolerance
) -> VerifyResult:
    """Run `artifact` (an .onnx file, or the folder of a native library) on images (N, C, H, W) in a fresh process.

    `expected` are the reference's outputs for the same images. A difference is a result (`ok` is False), not an
    exception; HwnasError where the artifact does not load or run at all.
    """
    if len(images) == 0 or len(images) != len(expected):
        raise HwnasError(
            f"verification needs as many expected outputs as images, got {len(expected)} for {len(images)}"
        )
    artifact = Path(artifact)
    if not artifact.exists():
        raise HwnasError(f"{artifact} does not exist", hint="hwnas export writes it")
    with tempfile.TemporaryDirectory(prefix="hwnas-verify-") as folder:
        samples, outputs = Path(folder) / "samples.npz", Path(folder) / "outputs.npy"
        np.savez(samples, images=images)
        answer = _run_fresh(artifact.resolve(), samples, outputs)
        got = np.load(outputs)
    return _compared(artifact, str(answer["runtime"]), got, labels, expected, tolerance)


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


def _compared(
    artifact: Path, runtime: str, got: np.ndarray, labels: np.ndarray | None, expected: np.ndarray, tolerance: Tolerance
) -> VerifyResult:
    if got.shape != expected.shape:
        raise HwnasError(f"{artifact} gives outputs {got.shape}, the reference {expected.shape}")
    count = len(expected)
    got_rows = got.reshape(count, -1).astype(np.float64)
    rows = expected.reshape(count, -1).astype(np.float64)
    difference = np.abs(got_rows - rows)
    # NaN compares as neither equal nor within, so that a runtime's NaN fails.
    bound = tolerance.relative * float(np.abs(rows).max())
    within = float((difference <= bound).all(axis=1).mean())
    same_class = float((got_rows.argmax(axis=1) == rows.argmax(axis=1)).mean())
    classes = None if labels is None else np.asarray(labels)
    return VerifyResult(
        artifact=artifact.name,
        runtime=runtime,
        samples=count,
        outputs=int(got_rows.size),
        differing_outputs=int((got_rows != rows).sum()),
        max_abs_difference=float(np.nan_to_num(difference, nan=np.inf).max()),
        within=within,
        same_class=same_class,
        accuracy=None if classes is None else float((got_rows.argmax(axis=1) == classes).mean()),
        expected_accuracy=None if classes is None else float((rows.argmax(axis=1) == classes).mean()),
        exact_required=tolerance.exact,
        ok=within >= tolerance.within and same_class >= tolerance.same_class,
    )
