"""Ridge: a straight line on one-hot codes with small coefficients (Hoerl and Kennard, Technometrics 1970).

With X (n, d) the one-hot codes and y (n,) the scores, both less their means,

    w = (X'X + alpha I)^-1 X'y
    mean(x) = mean(y) + x'w
    std(x)^2 = s^2 (1 + x'(X'X + alpha I)^-1 x),   s^2 = y'(y - Xw) / n

The deviation is that of the same line read as a Bayesian one, w ~ N(0, s^2 / alpha I), at the s^2 of largest evidence.

Differs: a choice that no live slot reads (code -1) is a row of zeros, not a category: its value is no fact of the net.
Baseline: the mean of the scores, and cost.macs as a ranking.
"""

from __future__ import annotations

import numpy as np

from hwnas.errors import HwnasError
from hwnas.space import SearchSpace
from hwnas.units import positive

LEAST = 1e-12  # scores that a line fits exactly leave no deviation at all; a standard deviation is above 0


class Ridge:
    """Closed form; `alpha` is the weight of |w|^2 beside the squared error."""

    def __init__(self, space: SearchSpace, alpha: float = 1.0) -> None:
        self.extents = [len(choice.options) for choice in space.choices]
        self.alpha = positive(alpha, "alpha")
        self._fitted: tuple[np.ndarray, float, np.ndarray, np.ndarray, float] | None = None

    def one_hot(self, codes: np.ndarray) -> np.ndarray:
        """float64 (n, sum of options) of codes int64 (n, choices); -1 gives zeros."""
        columns = [codes[:, [i]] == np.arange(extent) for i, extent in enumerate(self.extents)]
        return np.concatenate(columns, axis=1).astype(np.float64)

    def fit(self, codes: np.ndarray, scores: np.ndarray) -> None:
        if len(codes) == 0:
            raise HwnasError("a predictor needs at least one score")
        hot = self.one_hot(codes)
        centre, level = hot.mean(axis=0), float(scores.mean())
        x, y = hot - centre, scores - level
        inverse = np.linalg.inv(x.T @ x + self.alpha * np.eye(x.shape[1]))
        weights = inverse @ (x.T @ y)
        variance = max(float(y @ (y - x @ weights)) / len(y), LEAST)
        self._fitted = centre, level, weights, inverse, variance

    def predict(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._fitted is None:
            raise HwnasError("a predictor is fitted before it predicts")
        centre, level, weights, inverse, variance = self._fitted
        x = self.one_hot(codes) - centre
        spread = 1.0 + np.einsum("ni,ij,nj->n", x, inverse, x)
        return level + x @ weights, np.sqrt(variance * spread)
