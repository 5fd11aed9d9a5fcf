"""Grading a table: exact on the null device, fitted on some networks and graded on others, kept and reused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.card import Calibration
from hwnas.device import load_device
from hwnas.engines.tvm import own_steps
from hwnas.errors import CheckFailed, HwnasError
from hwnas.fidelity import Fidelity, distinct_networks, fit_calibration, score, stored_fidelity, whole_nets
from hwnas.network import Operator
from hwnas.space import SearchSpace
from hwnas.spaces.mobile import mobile

NULL = load_device("null")


def space(precision: str = "int8", kernels: tuple[int, ...] = (3, 5)) -> SearchSpace:
    return mobile(
        1, 10, resolutions=(8,), stem_stride=1, stem_width=8, widths=((8, 16), (16, 24)), depths=(1, 2), strides=(2, 1),
        kernels=kernels, expansions=(2,), squeeze_excite=(False,), precisions=(precision,),
    ).restrict({"*precision": [precision]})  # fmt: skip


def grade(tables: Path, seed: int = 0) -> Fidelity:
    return whole_nets(space(), "tvm", NULL, tables, "int8", n_fit=10, n_test=20, seed=seed, progress=False)


def test_on_the_null_device_the_table_predicts_exactly(tmp_path: Path) -> None:
    fidelity = grade(tmp_path)
    assert fidelity.noise_floor == 0.0
    assert fidelity.table.mape < 1e-9 and fidelity.raw.mape == 0.0
    assert (fidelity.table.within_10, fidelity.n_fit, fidelity.n_test) == (1.0, 10, 20)
    assert fidelity.table.spearman == pytest.approx(1.0)
    assert fidelity.calibration.slope == pytest.approx(1.0)
    assert fidelity.baseline.mape > fidelity.table.mape
    assert fidelity.trusted


def test_a_grade_is_read_back_equal_and_reused(tmp_path: Path) -> None:
    fidelity = grade(tmp_path)
    assert stored_fidelity(space(), "tvm", NULL, tmp_path, "int8") == fidelity
    assert grade(tmp_path) == fidelity
    assert grade(tmp_path).measured_at == fidelity.measured_at


def test_a_grade_taken_on_a_busy_machine_is_taken_again(tmp_path: Path) -> None:
    """It is what a limit is judged by: kept, it would refuse every later run."""
    quiet = grade(tmp_path)
    card = json.loads((tmp_path / "null" / "card.json").read_text())
    (entry,) = card["networks"].values()
    entry["noise_floor"] = entry["statistics"]["min"]["noise_floor"] = 0.324
    (tmp_path / "null" / "card.json").write_text(json.dumps(card))
    assert stored_fidelity(space(), "tvm", NULL, tmp_path, "int8").judged("min").noise_floor == 0.324  # type: ignore[union-attr]
    assert grade(tmp_path).judged("min").noise_floor == quiet.judged("min").noise_floor == 0.0


def test_another_space_or_engine_has_no_grade_yet(tmp_path: Path) -> None:
    grade(tmp_path)
    assert stored_fidelity(space(kernels=(3,)), "tvm", NULL, tmp_path, "int8") is None
    assert stored_fidelity(space(), "onnxruntime", NULL, tmp_path, "int8") is None
    assert stored_fidelity(space(), "tvm", NULL, tmp_path / "none", "int8") is None


def test_another_seed_is_graded_anew(tmp_path: Path) -> None:
    assert grade(tmp_path, seed=1).measured_us != grade(tmp_path, seed=0).measured_us


def test_a_calibration_of_slope_intercept_and_blocks_is_found() -> None:
    rng = np.random.default_rng(0)
    sums, blocks = rng.uniform(20, 100, 20), rng.integers(4, 12, 20).astype(float)
    features = np.stack([sums, blocks, np.ones(20)], axis=1)
    fit = fit_calibration(features, 0.8 * (sums + 0.5 * blocks) + 7.0)
    assert (fit.slope, fit.intercept_us, fit.per_operator_us) == pytest.approx((0.8, 7.0, 0.5))


def test_the_number_of_blocks_is_left_out_where_it_only_fits_noise() -> None:
    rng = np.random.default_rng(1)
    sums, blocks = rng.uniform(20, 100, 20), rng.integers(4, 12, 20).astype(float)
    features = np.stack([sums, blocks, np.ones(20)], axis=1)
    constant = features.copy()
    constant[:, 1] = 6.0
    assert fit_calibration(constant, 2.0 * sums).per_operator_us == 0.0
    assert fit_calibration(features, 2.0 * sums).slope == pytest.approx(2.0)


def test_a_negative_slope_falls_back_to_a_ratio() -> None:
    sums = np.linspace(10, 20, 8)
    features = np.stack([sums, np.full(8, 3.0), np.ones(8)], axis=1)
    fit = fit_calibration(features, 100.0 - sums)
    assert fit == Calibration(float(np.median((100.0 - sums) / sums)))


def test_scores_are_those_computed_by_hand() -> None:
    result = score(np.array([11.0, 18.0, 30.0, 50.0]), np.array([10.0, 20.0, 30.0, 40.0]))
    assert result.mape == pytest.approx((0.1 + 0.1 + 0.0 + 0.25) / 4)
    assert result.within_10 == 0.75
    assert result.spearman == pytest.approx(1.0)
    assert score(np.ones(4), np.arange(1.0, 5.0)).spearman == 0.0


@settings(deadline=None)  # the first call imports scipy
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=3, max_size=30))
def test_the_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    spearmanr = pytest.importorskip("scipy.stats").spearmanr
    predicted, measured = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    if np.ptp(predicted) > 0 and np.ptp(measured) > 0:
        expected = float(spearmanr(predicted, measured).statistic)
        assert score(predicted, measured).spearman == pytest.approx(expected, abs=1e-12)


def test_a_noisy_machine_is_told_and_refused_on_request(tmp_path: Path) -> None:
    noisy = dataclasses.replace(grade(tmp_path), noise_floor=0.3)
    assert not noisy.trusted
    assert noisy.summary()["trusted"] is False
    with pytest.raises(CheckFailed, match=r"measured twice differ by 30\.0% on average, above 10%"):
        noisy.require_quiet()


def test_the_networks_differ_and_the_seed_decides_them() -> None:
    networks = distinct_networks(space(), 20, seed=3)
    assert len({network.operators for network in networks}) == 20
    assert networks == distinct_networks(space(), 20, seed=3)


def test_a_space_too_small_to_grade_is_refused() -> None:
    tiny = space(kernels=(3,)).restrict({"*width": [16], "*depth": [1]})
    with pytest.raises(HwnasError, match="has 1 different networks; grading takes at least 8"):
        distinct_networks(tiny, 20, seed=0)


def test_a_small_space_is_drawn_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    small = mobile(3, 10, (32,), widths=((8, 16),), depths=(1, 2), strides=(2,), kernels=(3, 5), expansions=(3,),
                   squeeze_excite=(False,), precisions=("fp32",))  # fmt: skip
    lowered: list[object] = []
    lower = SearchSpace.lower
    monkeypatch.setattr(SearchSpace, "lower", lambda self, chosen: lowered.append(chosen) or lower(self, chosen))
    networks = distinct_networks(small, 40, seed=0)
    assert 8 <= len(networks) < 40 and len(lowered) <= small.size


def test_a_damaged_grade_in_the_card_is_refused(tmp_path: Path) -> None:
    grade(tmp_path)
    card = tmp_path / "null" / "card.json"
    card.write_text(card.read_text().replace('"noise_floor"', '"noisefloor"'))
    with pytest.raises(HwnasError, match="is not a grade"):
        grade(tmp_path)


def test_real_networks_are_graded_on_both_engines(tmp_path: Path) -> None:
    local = load_device("local")
    for engine in ("onnxruntime", "tvm"):
        fidelity = whole_nets(space(), engine, local, tmp_path, "int8", n_fit=4, n_test=4, progress=False)
        assert len(fidelity.measured_us) == 8
        assert fidelity.calibration.slope > 0


@pytest.mark.parametrize(
    ("kinds", "operator", "steps"),
    [
        ("to_nhwc conv_f32 to_nchw", Operator.of("conv_bn_act", (8, 4, 4), (8, 4, 4)), (1, 2)),
        ("quantize conv_int add_int dequantize", Operator.of("conv_bn_act", (8, 4, 4), (8, 4, 4), "int8"), (1, 3)),
        ("to_nhwc sign_pack binary_conv to_nchw", Operator.of("bireal", (8, 4, 4), (8, 4, 4), "w1a1"), (1, 3)),
        ("global_average_f32 conv_f32", Operator.of("pool_dense", (8, 4, 4), (10,)), (0, 2)),
        ("quantize dequantize", Operator.of("convert", (8, 4, 4), (8, 4, 4), "int8"), (0, 1)),
        ("quantize dequantize", Operator.of("convert", (8, 4, 4), (8, 4, 4), "fp32"), (1, 2)),
    ],
)
def test_a_blocks_own_steps_leave_out_the_layout_changes_of_being_alone(
    kinds: str, operator: Operator, steps: tuple[int, int]
) -> None:
    assert own_steps(kinds.split(), operator) == steps
