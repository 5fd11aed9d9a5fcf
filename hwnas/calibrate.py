"""Fitting predictions to measured networks, and scoring how close they come. Arrays of microseconds in one order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.card import Calibration

HUBER = 0.03  # about three times the noise floor of a quiet machine


@dataclass(frozen=True, slots=True)
class Score:
    """Predictions against measurements: mean absolute error (a share), share within 10 %, rank correlation."""

    mape: float
    within_10: float
    spearman: float


def fit_calibration(features: np.ndarray, measured: np.ndarray) -> Calibration:
    """Robust least squares of relative errors over columns (sum of rows, number of blocks, 1), microseconds.

    The column of blocks is used only where leaving networks out one by one says that it predicts better; a negative
    slope (too few or too noisy networks) falls back to a plain ratio.
    """
    candidates = [[0, 2]] if np.ptp(features[:, 1]) == 0 else [[0, 2], [0, 1, 2]]
    best = min(candidates, key=lambda columns: _left_out_error(features[:, columns], measured))
    weights = np.zeros(3)
    weights[best] = relative_least_squares(features[:, best], measured)
    slope, per_block, intercept = (float(weight) for weight in weights)
    if slope <= 0:
        return Calibration(float(np.median(measured / features[:, 0])))
    return Calibration(slope, intercept, per_block / slope)


def score(predicted: np.ndarray, measured: np.ndarray) -> Score:
    """How close the predictions are; arrays (n,) in one unit."""
    errors = np.abs(predicted - measured) / measured
    flat = np.ptp(predicted) == 0 or np.ptp(measured) == 0
    rank = 0.0 if flat else float(np.corrcoef(_ranks(predicted), _ranks(measured))[0, 1])
    return Score(float(errors.mean()), float((errors <= 0.10).mean()), rank)


def _ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value among all, equal values sharing the mean of theirs: Spearman's rho correlates these."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: np.ndarray = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places]


def relative_least_squares(columns: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Weights that minimise relative errors, squared up to HUBER and linear beyond: one bad network bends no fit."""
    scaled, trust = columns / measured[:, None], np.ones(len(measured))
    for _ in range(20):
        solution: np.ndarray = np.linalg.lstsq(scaled * trust[:, None], trust, rcond=None)[0]
        trust = np.sqrt(np.minimum(1.0, HUBER / np.maximum(np.abs(scaled @ solution - 1.0), HUBER / 1e3)))
    return solution


def _left_out_error(columns: np.ndarray, measured: np.ndarray) -> float:
    """Mean relative error of each network predicted from a fit on the others."""
    errors = []
    for left in range(len(measured)):
        kept = np.arange(len(measured)) != left
        weights = relative_least_squares(columns[kept], measured[kept])
        errors.append(abs(float(columns[left] @ weights) / float(measured[left]) - 1.0))
    return float(np.mean(errors))
