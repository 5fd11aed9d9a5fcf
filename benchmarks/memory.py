"""Memory of training on 100,000 images of 224x224: python benchmarks/memory.py FOLDER (15 GB free; minutes).

Trains, recalibrates, scores and calibrates for real from a memory-mapped file, in a process of its own with its loading
workers, and samples what all of them hold resident less what is mapped from files (RssAnon + RssShmem of Linux) every
50 ms. Exit 1 above 4 GB. Run by hand; its log is docs/results/memory.md.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

LIMIT_BYTES = 4_000_000_000
SIDE, CLASSES, BATCH, STEPS, CALIBRATION = 224, 10, 32, 200, 512
# Scoring takes what is no training image; more of them take longer and not more memory.
SHARES = (0.98, 0.01, 0.01)


def make(path: Path, count: int) -> None:
    """Images of noise in which a class is a direction of stripes: written for real, 150 KB each."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 128, (64, SIDE, SIDE, 3), dtype=np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    angles = np.arange(CLASSES) * np.pi / CLASSES
    stripes = [(60 * (1 + np.sin((x * np.cos(a) + y * np.sin(a)) / 6))).astype(np.uint8)[..., None] for a in angles]
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, SIDE, SIDE, 3))
    for start in range(0, count, CLASSES * 10):
        part = images[start : start + CLASSES * 10]
        for i in range(len(part)):
            part[i] = np.roll(noise[(start + i) % 64], start % SIDE, axis=0) + stripes[i % CLASSES]
    images.flush()


def resident_bytes() -> int:
    """Memory of this process and its children that is not a mapped file."""
    import psutil

    total, me = 0, psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            continue  # a worker that has just ended
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    return total


class Peak:
    """The highest `resident_bytes` of each phase, sampled from a thread."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []
        self._highest, self._stop = 0, threading.Event()
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while not self._stop.wait(0.05):
            self._highest = max(self._highest, resident_bytes())

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._highest, start = resident_bytes(), time.monotonic()
        yield
        self._highest = max(self._highest, resident_bytes())
        self.rows.append((name, time.monotonic() - start, self._highest / 1e9))
        print(f"| {name} | {self.rows[-1][1]:.0f} s | {self.rows[-1][2]:.2f} GB |", flush=True)


class _Enough(Exception):
    """Ends the training after STEPS."""


def measure(path: Path) -> float:
    """Every phase; the highest peak in GB."""
    from hwnas.data import Raw, prepare
    from hwnas.export.quantise import calibrate, fold
    from hwnas.methods.rule.single_path import SinglePath
    from hwnas.spaces.mobile import mobile
    from hwnas.supernet import WeightSharing, extract, recalibrate, resize
    from hwnas.train import Schedule, evaluate, some_images, train, workers_for

    peak = Peak()
    with peak.phase("open, check and digest all pixels"):
        images = np.load(path, mmap_mode="r")
        labels = np.arange(len(images)) % CLASSES
        data = prepare(Raw("stripes", images, labels, tuple(map(str, range(CLASSES))), layout="NHWC"), 0, SHARES)
        assert data.digest
    facts = data.facts
    space = mobile(
        **facts, stem_width=8, widths=((8, 16), (24, 32), (40, 48)), depths=(1,), strides=(2, 2, 2), kernels=(3, 5),
        expansions=(2, 3), precisions=("int8",),
    )  # fmt: skip
    net, schedule = WeightSharing(space), Schedule(epochs=1, batch_size=BATCH, shift=4, flip=True)

    def stop(done: int, total: int, note: str) -> None:
        if done == STEPS:
            raise _Enough

    name = f"{STEPS} steps of {BATCH} images, {workers_for(data, schedule)} loading worker(s)"
    with peak.phase(name), suppress(_Enough):
        train(net, SinglePath(space), data, schedule, progress=stop)
    alone = extract(net, space.largest())
    with peak.phase(f"batch norm recalibrated on {CALIBRATION} images"):
        recalibrate(alone, some_images(data, CALIBRATION, 0))
    with peak.phase(f"scored on {data.sizes()['validation']} images"):
        accuracy = evaluate(alone, data, "validation").accuracy
    with peak.phase(f"INT8 calibration on {CALIBRATION} images"):
        shape = alone.network.input_shape
        seen = np.concatenate([resize(x, shape).numpy() for x in some_images(data, CALIBRATION, 0)])
        calibrate(fold(alone.network, alone.arrays()), seen)
    print(f"\n{accuracy:.1%} of the validation images are right after {STEPS} steps")
    return max(highest for _, _, highest in peak.rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the 15 GB go; the file is deleted at the end")
    parser.add_argument("--images", type=int, default=100_000)
    arguments = parser.parse_args()
    path = arguments.folder / "memory-benchmark.npy"
    try:
        make(path, arguments.images)
        print(f"{arguments.images} images of {SIDE}x{SIDE}x3 bytes, {path.stat().st_size / 1e9:.1f} GB on disk\n")
        print("| phase | time | highest resident memory, mapped files left out |\n|---|---:|---:|", flush=True)
        highest = measure(path)
    finally:
        path.unlink(missing_ok=True)
    print(
        f"\nhighest {highest:.2f} GB of {LIMIT_BYTES / 1e9:.0f} GB: {'ok' if highest * 1e9 <= LIMIT_BYTES else 'ABOVE'}"
    )
    return int(highest * 1e9 > LIMIT_BYTES)


if __name__ == "__main__":
    sys.exit(main())
