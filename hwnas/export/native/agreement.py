"""Every artefact runs once before it is put in place: random inputs through it and through ONNX Runtime, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import CheckFailed, HwnasError
from hwnas.export.native.artifact import NativeArtifact
from hwnas.export.native.emulate import TooSlow, how_it_runs, run_program, why_not_here
from hwnas.export.native.ends import End
from hwnas.export.native.link import runs_here
from hwnas.export.native.operator import operators

if TYPE_CHECKING:
    from onnx import ModelProto

    from hwnas.export.native.program import Program
    from hwnas.kernels.target import Target

SAMPLES = 16
#: multiply-accumulates that the samples may cost together, natively and emulated: some seconds of either
MACS, EMULATED_MACS = 2_000_000_000, 150_000_000
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Bound:
    """How equal is equal enough: `share` of the values may differ by more than `grain`, none by more than `largest`
    (one for all, or [N, 1]), and the root mean square of all differences is at most `noise` of the outputs' own spread.
    `text` says so."""

    grain: float
    share: float
    largest: float | NDArray[Any]
    noise: float
    text: str


@dataclass(frozen=True)
class Agreement:
    """What was compared with what, as the manifest says it; `ran` is False, with the reason, where nothing was."""

    against: str
    how: str
    samples: int
    values: int
    bound: str
    largest_difference: float
    differing: int
    ran: bool
    reason: str

    def record(self) -> dict[str, Any]:
        return asdict(self)


def agree(artifact: NativeArtifact, model: ModelProto, program: Program, machine: Target) -> Agreement:
    """Runs the artefact and ONNX Runtime on the same inputs. CheckFailed where the outputs differ beyond the bound,
    or where the artefact's program does not end by itself."""
    reason = why_not_here(machine)
    inputs = random_inputs(program, MACS if runs_here(machine) else EMULATED_MACS)
    try:
        against, expected = reference(model, inputs)
    except HwnasError as problem:
        against, reason, expected = "", str(problem), None
    if reason is not None or expected is None:
        return Agreement(against, "", 0, 0, "", 0.0, 0, False, reason or "")
    how = how_it_runs(machine)
    try:
        got = run_program(artifact, machine, inputs, TIMEOUT_S)
    except TooSlow as problem:  # an emulator takes a hundred times as long: a large net is not wrong for that
        if runs_here(machine):
            raise CheckFailed(f"the compiled model does not end: {problem.message}", hint="please report it") from None
        return Agreement(against, how, 0, 0, "", 0.0, 0, False, problem.message)
    except HwnasError as problem:
        raise CheckFailed(
            f"the compiled model does not run {how}: {problem.message}", hint="nothing was replaced; please report it"
        ) from None
    try:
        return _all_compared(program, got, expected, against, how)
    except CheckFailed:
        # ONNX Runtime's integer Gemm takes a bias for one of scale input * weight, whatever its own scale is, and other
        # fusions have had errors of the kind: what counts is the model's own meaning, operator by operator
        against, expected = reference(model, inputs, as_written=True)
        return _all_compared(program, got, expected, against, how)


def _all_compared(
    program: Program, got: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]], against: str, how: str
) -> Agreement:
    """Every output by a bound of its own; the manifest tells of all values and of the least equal output."""
    found = [
        _compared(mine, wanted, bound_of(program, wanted, end), against, how)
        for mine, wanted, end in zip(got, expected, program.outputs, strict=True)
    ]
    worst = max(found, key=lambda one: one.largest_difference)
    return replace(worst, values=sum(one.values for one in found), differing=sum(one.differing for one in found))


def random_inputs(program: Program, macs: int) -> tuple[NDArray[Any], ...]:
    """[N, *sample] of every input: normal values of three scales, constants, and extremes, or any whole numbers that
    it takes; as many samples as `macs` operations allow."""
    rng = np.random.default_rng(0)
    count = int(np.clip(macs // max(1, sum(call.macs for call in program.calls)), 2, SAMPLES))
    return tuple(_random_input(program, end, rng, count) for end in program.inputs)


def _random_input(program: Program, end: End, rng: np.random.Generator, count: int) -> NDArray[Any]:
    shape = end.sample
    if end.type != "float32":
        limits = np.iinfo(end.type)
        low, high = (0, end.below) if end.below else (limits.min, min(limits.max, 2**62) + 1)
        return rng.integers(low, high, (count, *shape)).astype(end.type)
    # where the input is quantised first, any number saturates; in float nets great ones would drown the others
    readers = [call.kind for call in program.calls if ("input", end.offset) in call.pointers]
    great = 1e9 if all(kind == "quantize" for kind in readers) else 16.0
    listed = [
        rng.standard_normal(shape),
        rng.choice([-great, 0.0, great, 1.0], shape),
        rng.standard_normal(shape) * 0.25,
        rng.standard_normal(shape) * 4,
        np.zeros(shape),
        np.full(shape, great),
        np.full(shape, -great),
        *(rng.standard_normal(shape) for _ in range(SAMPLES)),
    ]
    return np.stack(listed[:count]).astype(np.float32)


def reference(
    model: ModelProto, inputs: Sequence[NDArray[Any]], as_written: bool = False
) -> tuple[str, tuple[NDArray[Any], ...]]:
    """(what it is, every output [N, ...]) of ONNX Runtime on one thread, one sample at a time; `as_written` fuses
    nothing.

    x86 without VNNI adds two products of unsigned and signed bytes in 16 bits, and saturates where weights use all 8
    bits: there ONNX Runtime is wrong, unless it is told to take the slower exact products, which is done here.
    """
    try:
        import onnxruntime
    except ImportError:
        raise HwnasError("onnxruntime is not installed") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        given = session.get_inputs()
        results = [
            session.run(None, {g.name: one.reshape(g.shape) for g, one in zip(given, sample, strict=True)})
            for sample in zip(*inputs, strict=True)
        ]
    except Exception as problem:  # ONNX Runtime raises many kinds for a model that it refuses
        raise HwnasError(f"ONNX Runtime refuses the model: {' '.join(str(problem).split())[:200]}") from None
    how = "without graph optimisations" if as_written else "with session.x64quantprecision=1"
    return f"onnxruntime {onnxruntime.__version__} {how}", tuple(np.stack(one) for one in zip(*results, strict=True))


def bound_of(program: Program, expected: NDArray[Any], end: End) -> Bound:
    """The bound that the model's arithmetic allows at the output `end`. Infinite values and NaN must be the same and
    widen no bound."""
    sizes = np.where(np.isfinite(expected), np.abs(expected), 0.0).reshape(len(expected), -1).max(axis=1, keepdims=True)
    largest = float(sizes.max())
    known = operators()
    inexact = [place for place, call in enumerate(program.calls) if not known.kind(call.kind).exact]
    if not inexact and end.step:
        # Equal bits; but another build of ONNX Runtime may round a single product or table entry the other way, which
        # moves single values by a code or two. A wrong lane, tap or rounding mode moves more than one in a hundred.
        step = 2 * end.step
        text = f"equal, but for 1 % of the values by at most {step:.3g}, two codes (all sums are of integers)"
        return Bound(0.0, 0.01, step * 1.001, np.inf, text)
    if not inexact:
        # The same for a stream of floats without sums, where a build may fuse a product with an addition.
        text = "equal within 1e-6 of the largest output, but for 1 % of the values (no sums of floats)"
        return Bound(1e-6 * largest, 0.01, np.inf, 0.03, text)
    if any(known.kind(call.kind).thresholds for call in program.calls[inexact[0] :]):
        # A float sum within its own rounding of a threshold may fall on the other side; that changes a few signs or
        # codes in 10^5, and each changes the outputs a little. A wrong lane of a layer is noise of 10 % and more.
        text = "differences of at most 3 % of the outputs' spread, by root mean squares (float sums feed signs, codes)"
        return Bound(0.0, 1.0, np.inf, 0.03, text)
    # Two orders of adding n float32 products differ by about sqrt(n) * 2^-24 of them a layer, some 1e-6 to 1e-5 over
    # tens of layers; the rest is for sums that nearly cancel. What is computed wrongly is off by percents of its own
    # sample: a bias does not grow with the input, so beside the greatest inputs' outputs a wrong one would be lost.
    text = f"0.1 % of each sample's largest output, or {1e-4 * largest:.3g} (sums of floats)"
    return Bound(0.0, 1.0, np.maximum(1e-3 * sizes, 1e-4 * largest), np.inf, text)


def _compared(got: NDArray[Any], expected: NDArray[Any], bound: Bound, against: str, how: str) -> Agreement:
    if got.size != expected.size:
        raise CheckFailed(f"the compiled model gives {got.size} values where {against} gives {expected.size}")
    count = len(expected)
    rows, wanted = got.reshape(count, -1).astype(np.float64), expected.reshape(count, -1).astype(np.float64)
    same = (rows == wanted) | (np.isnan(rows) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):  # infinity less itself, which is the same
        difference = np.where(same, 0.0, np.abs(rows - wanted))
    difference = np.nan_to_num(difference, nan=np.inf, posinf=np.inf)
    largest, differing = float(difference.max(initial=0.0)), int((~same).sum())
    finite = wanted[np.isfinite(wanted)]
    spread = float(finite.std()) if finite.size else 0.0
    noise = float(np.sqrt(np.mean(difference**2)))
    if (
        (difference > bound.grain).mean() > bound.share
        or (difference > bound.largest).any()
        or noise > bound.noise * spread
    ):
        raise CheckFailed(
            f"the compiled model and {against} disagree: {differing} of {rows.size} values differ, by at most "
            f"{largest:.4g} (root mean square {noise:.3g}, spread {spread:.3g}); allowed: {bound.text}",
            hint="nothing was written or replaced; please report the model",
        )
    return Agreement(against, how, count, int(rows.size), bound.text, largest, differing, True, "")
