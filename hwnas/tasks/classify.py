"""classify: one of several classes an example; accuracy is the share whose largest output is the label."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hwnas.data.splits import balanced
from hwnas.errors import HwnasError
from hwnas.protocols import Data
from hwnas.tasks import require_one

if TYPE_CHECKING:
    from torch import Tensor

BASELINE_EXAMPLES, BASELINE_SIDE = 5000, 32  # logistic regression on more or larger images takes minutes and gigabytes


@dataclass(frozen=True)
class Classify:
    """A Task. Outputs are logits (N, classes), targets are labels int64 (N,). `label_smoothing` acts in training alone
    (Szegedy et al., CVPR 2016): judged is the plain cross-entropy."""

    label_smoothing: float = 0.0
    metric: ClassVar[str] = "accuracy"
    unit: ClassVar[str] = "%"

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        if isinstance(smoothing, bool) or not isinstance(smoothing, int | float) or not 0 <= smoothing < 1:
            raise HwnasError(f"label_smoothing must be at least 0 and below 1, got {smoothing!r}")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy in nats, the mean over the batch."""
        from torch.nn.functional import cross_entropy

        require_one("classify", outputs)
        return cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def distil(self, student: Tensor, teacher: Tensor) -> Tensor:
        """-sum_c softmax(teacher)_c log softmax(student)_c, the mean over the batch; the teacher gets no gradient."""
        from torch.nn.functional import log_softmax, softmax

        require_one("classify", student, teacher)
        return -(softmax(teacher.detach(), dim=1) * log_softmax(student, dim=1)).sum(1).mean()

    def statistics(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """float64 (N, 2): 1 where the largest output is the label, and the cross-entropy in nats."""
        require_one("classify", outputs)
        logits = outputs.reshape(len(outputs), -1)
        _require_labels(targets, logits.shape)
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        log_share = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return np.stack([logits.argmax(axis=1) == targets, -log_share[np.arange(len(targets)), targets]], axis=1)

    def reduce(self, statistics: np.ndarray) -> float:
        """The share of examples that are right, in [0, 1]."""
        return float(statistics[:, 0].mean())

    def same(self, got: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """bool (N,): whether both answer with the same class."""
        require_one("classify", got, expected)
        first, second = (outputs.reshape(len(outputs), -1).argmax(axis=1) for outputs in (got, expected))
        answers: np.ndarray = first == second
        return answers

    def baseline(self, data: Data) -> tuple[str, float]:
        """Test accuracy of multinomial logistic regression on the inputs.

        At most 5,000 examples a split; images are averaged down to about 32 pixels on the shorter side.
        """
        from sklearn.linear_model import LogisticRegression

        (x, y), (test, labels) = (_vectors(data, split) for split in ("train", "test"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence: a baseline may stop at its iteration limit
            return "linear classifier", float(LogisticRegression(max_iter=300).fit(x, y).score(test, labels))


def _vectors(data: Data, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of a split as vectors, and labels."""
    from torch.nn.functional import avg_pool2d

    chosen = np.sort(balanced(data, split, BASELINE_EXAMPLES, 0))
    vectors = []
    for start in range(0, len(chosen), 100):
        parts = []
        for x in data.batch(split, chosen[start : start + 100]).inputs.values():
            small = avg_pool2d(x, max(1, min(x.shape[2:]) // BASELINE_SIDE)) if x.ndim == 4 else x
            parts.append(small.flatten(1).numpy())
        vectors.append(np.concatenate(parts, axis=1))
    return np.concatenate(vectors), data.targets(split)[chosen]


def _require_labels(targets: np.ndarray, outputs: tuple[int, int]) -> None:
    """HwnasError unless targets are a class of the outputs (N, classes) an example."""
    count, classes = outputs
    if targets.dtype.kind not in "iu" or targets.shape != (count,) or not ((targets >= 0) & (targets < classes)).all():
        whole = targets.dtype.kind in "iu" and targets.size
        held = f"{targets.min()} to {targets.max()}" if whole else targets.dtype
        raise HwnasError(
            f"classification needs a label from 0 to {classes - 1} for each of {count} outputs, got "
            f"{targets.shape} of {held}",
            hint="labels of another task are left out of a file's samples: its outputs are compared without them",
        )
