"""The canary: a fixed piece of work timed beside every group of rows; it tells a slow phase of the machine."""

from __future__ import annotations

import time

import numpy as np


class Canary:
    """A small float32 product (arithmetic) and a pass over 256 KiB (cache): about 25 us, the same every time."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.left, self.right = (rng.standard_normal((64, 64)).astype(np.float32) for _ in range(2))
        self.product = np.empty((64, 64), np.float32)
        self.values, self.sums = np.ones(65_536, np.float32), np.empty(65_536, np.float32)

    def run_us(self, repeats: int) -> float:
        start = time.perf_counter_ns()
        for _ in range(repeats):
            np.dot(self.left, self.right, out=self.product)
            np.add(self.values, 1.0, out=self.sums)
        return (time.perf_counter_ns() - start) / 1e3
