"""digits: 1,797 hand-written digits of 8x8 pixels that ship with scikit-learn (UCI optdigits, 1998)."""

from __future__ import annotations

from hwnas.data import Raw


def digits() -> Raw:
    """Images (1797, 8, 8, 1) with values 0 to 16, ten classes."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return Raw("digits", images.reshape(-1, 8, 8, 1), labels, tuple(map(str, range(10))), layout="NHWC")
