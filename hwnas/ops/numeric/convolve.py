"""Convolution in numpy, exact for integers: the specification of every faster kernel."""

from __future__ import annotations

import numpy as np

EXACT_TERMS = 500  # 500 * 255 * 128 < 2^24: float32 sums of u8 x s8 products stay exact within one chunk

MAX_COLUMNS = 1 << 24  # values of one im2col matrix: 64 MiB


def windows(x: np.ndarray, kernel: int, stride: int, padding: int) -> np.ndarray:
    """A view (N, C, H', W', kernel, kernel) of zero-padded x (N, C, H, W)."""
    if padding:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    result: np.ndarray = view[:, :, ::stride, ::stride]
    return result


def convolve(x: np.ndarray, weight: np.ndarray, stride: int, groups: int) -> np.ndarray:
    """float32 convolution of x (N, C, H, W) with (O, C/groups, k, k), padding k // 2."""
    result: np.ndarray = _grouped(x.astype(np.float32), weight.astype(np.float32), stride, groups, np.float32)
    return result


def convolve_exact(x: np.ndarray, weight: np.ndarray, stride: int, groups: int) -> np.ndarray:
    """int32 convolution of integer x (|x| <= 255) with integer weights (|w| <= 128), exactly."""
    result: np.ndarray = _grouped(x.astype(np.float32), weight.astype(np.float32), stride, groups, np.int32)
    return result


def multiply_exact(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """int32 x (N, K) @ weight (K, O) of small integers, in float32 chunks whose sums cannot round."""
    total = np.zeros((x.shape[0], weight.shape[1]), dtype=np.int32)
    for start in range(0, x.shape[1], EXACT_TERMS):
        part = x[:, start : start + EXACT_TERMS] @ weight[start : start + EXACT_TERMS]
        total += part.astype(np.int32)
    return total


def _grouped(x: np.ndarray, weight: np.ndarray, stride: int, groups: int, out: type) -> np.ndarray:
    outputs, per_group, kernel, _ = weight.shape
    if groups > 1 and per_group == 1 and outputs == groups:
        return _depthwise(x, weight, stride).astype(out)
    view = windows(x, kernel, stride, kernel // 2)
    share = outputs // groups
    result = np.empty((len(x), outputs, *view.shape[2:4]), dtype=out)
    at_once = max(1, MAX_COLUMNS // (view.shape[2] * view.shape[3] * per_group * kernel * kernel))
    for g in range(groups):
        matrix = weight[g * share : (g + 1) * share].reshape(share, -1).T
        for start in range(0, len(x), at_once):
            mine = view[start : start + at_once, g * per_group : (g + 1) * per_group]
            columns = mine.transpose(0, 2, 3, 1, 4, 5).reshape(-1, per_group * kernel * kernel)
            product = multiply_exact(columns, matrix) if out is np.int32 else columns @ matrix
            shaped = product.reshape(len(mine), view.shape[2], view.shape[3], share).transpose(0, 3, 1, 2)
            result[start : start + at_once, g * share : (g + 1) * share] = shaped
    return result


def _depthwise(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """One shifted multiply-add a tap: at most kernel^2 terms, exact in float32 for integers up to 16 x 16 kernels."""
    kernel = weight.shape[2]
    view = windows(x, kernel, stride, kernel // 2)
    total = np.zeros(view.shape[:4], dtype=np.float32)
    for i in range(kernel):
        for j in range(kernel):
            total += view[..., i, j] * weight[None, :, 0, i, j, None, None]
    return total
