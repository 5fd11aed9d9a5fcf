"""segment: a class for every pixel; mIoU or Dice over the classes, from intersections and unions of the whole set."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hwnas.data.splits import balanced
from hwnas.errors import HwnasError, unknown
from hwnas.protocols import Data
from hwnas.tasks import require_one

if TYPE_CHECKING:
    from torch import Tensor

METRICS = ("mIoU", "Dice")
NONE = -100  # the target that torch's cross-entropy leaves out; no class is negative
BASELINE_EXAMPLES, BASELINE_PIXELS = 500, 20_000  # a linear classifier of single pixels learns no more from more


@dataclass(frozen=True)
class Segment:
    """A Task. Outputs are logits (N, classes, H, W), targets classes int64 (N, H, W); pixels of class `ignore` count
    nowhere.

    loss = cross_entropy * CE + dice * (1 - mean_c (2 sum p_c g_c + 1) / (sum p_c + sum g_c + 1)), sums over the batch's
    pixels, p the softmax and g the targets one-hot: the overlap sees small classes that the mean over pixels does not.
    mIoU = mean_c I_c / (P_c + T_c - I_c), Dice = mean_c 2 I_c / (P_c + T_c), over the classes that occur at all.
    """

    metric: str = "mIoU"
    cross_entropy: float = 1.0
    dice: float = 1.0
    ignore: int | None = None
    unit: ClassVar[str] = "%"

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise unknown("metric of segmentation", str(self.metric), METRICS)
        weights = (self.cross_entropy, self.dice)
        if not all(isinstance(w, int | float) and w >= 0 for w in weights) or sum(weights) <= 0:
            raise HwnasError(f"cross_entropy and dice must be at least 0 and not both 0, got {weights}")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum of both losses, over all pixels of the batch."""
        from torch.nn.functional import cross_entropy, one_hot, softmax

        require_one("segment", outputs)
        _require_maps(outputs.shape, targets.shape)
        counted = targets != (NONE if self.ignore is None else self.ignore)
        kept = targets.masked_fill(~counted, NONE)
        entropy = cross_entropy(outputs, kept, ignore_index=NONE)
        inside = counted[:, None].to(outputs.dtype)
        shares = softmax(outputs, dim=1) * inside
        truth = one_hot(targets.masked_fill(~counted, 0), outputs.shape[1]).movedim(-1, 1).to(outputs.dtype) * inside
        pixels = (0, 2, 3)
        overlap = (2 * (shares * truth).sum(pixels) + 1) / (shares.sum(pixels) + truth.sum(pixels) + 1)
        return self.cross_entropy * entropy + self.dice * (1 - overlap.mean())

    def distil(self, student: Tensor, teacher: Tensor) -> Tensor:
        """-sum_c softmax(teacher)_c log softmax(student)_c, the mean over all pixels; the teacher gets no gradient."""
        from torch.nn.functional import log_softmax, softmax

        require_one("segment", student, teacher)
        return -(softmax(teacher.detach(), dim=1) * log_softmax(student, dim=1)).sum(1).mean()

    def statistics(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """float64 (N, 3 classes + 1): pixels of each class in both, in the answer, in the target; then the mean
        cross-entropy of a pixel in nats (0 where none counts)."""
        require_one("segment", outputs)
        _require_maps(outputs.shape, targets.shape)
        classes = outputs.shape[1]
        counted = np.ones(targets.shape, dtype=bool) if self.ignore is None else targets != self.ignore
        truth = np.where(counted, targets, 0)
        answer = outputs.argmax(axis=1)
        kinds = np.arange(classes)[None, :, None, None]
        answered, true = ((maps[:, None] == kinds) & counted[:, None] for maps in (answer, truth))
        both = [part.sum(axis=(2, 3)) for part in (answered & true, answered, true)]
        shifted = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
        log_share = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        lost = -np.take_along_axis(log_share, truth[:, None], axis=1)[:, 0] * counted
        loss = lost.sum(axis=(1, 2)) / np.maximum(1, counted.sum(axis=(1, 2)))
        return np.concatenate([*both, loss[:, None]], axis=1).astype(np.float64)

    def reduce(self, statistics: np.ndarray) -> float:
        """The metric of the set, in [0, 1]; 1 where no pixel counts."""
        both, answered, true = np.split(statistics[:, :-1].sum(axis=0), 3)
        whole = answered + true
        met = whole > 0
        if not met.any():
            return 1.0
        both, whole = both[met], whole[met]
        return float((both / (whole - both) if self.metric == "mIoU" else 2 * both / whole).mean())

    def same(self, got: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """bool (N,): whether every pixel is given the same class."""
        require_one("segment", got, expected)
        equal = got.argmax(axis=1) == expected.argmax(axis=1)
        answers: np.ndarray = equal.reshape(len(equal), -1).all(axis=1)
        return answers

    def baseline(self, data: Data) -> tuple[str, float]:
        """The metric on test images of logistic regression on the channels of a pixel: what colour alone tells."""
        from sklearn.linear_model import LogisticRegression

        train, true = _maps(data, "train")
        test, wanted = _maps(data, "test")
        pixels, labels = np.moveaxis(train, 1, -1).reshape(-1, train.shape[1]), true.reshape(-1)
        known = np.flatnonzero(labels != (NONE if self.ignore is None else self.ignore))
        some = np.random.default_rng(0).permutation(known)[:BASELINE_PIXELS]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence: a baseline may stop at its iteration limit
            fitted = LogisticRegression(max_iter=300).fit(pixels[some], labels[some])
        scores = np.full((len(test), int(max(labels[known].max(), wanted.max())) + 1, *test.shape[2:]), -1e9)
        every = np.moveaxis(test, 1, -1).reshape(-1, test.shape[1])
        told = fitted.predict_log_proba(every).reshape(len(test), *test.shape[2:], -1)
        scores[:, fitted.classes_] = np.moveaxis(told, -1, 1)
        return "linear classifier of single pixels", self.reduce(self.statistics(scores, wanted))


def _require_maps(outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    if len(outputs) != 4 or len(targets) != 3 or (outputs[0], *outputs[2:]) != tuple(targets):
        raise HwnasError(
            f"segmentation needs outputs (N, classes, H, W) and targets (N, H, W), got {tuple(outputs)} and "
            f"{tuple(targets)}",
            hint="the network must give a map as large as the target",
        )


def _maps(data: Data, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, C, H, W) of a split, and their targets (n, H, W)."""
    chosen = np.sort(balanced(data, split, BASELINE_EXAMPLES, 0))
    batch = data.batch(split, chosen)
    return batch.images.numpy(), batch.targets.numpy()
