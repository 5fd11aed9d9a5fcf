"""Writes the Free Spoken Digit Dataset as one archive: python examples/keywords.py fsdd keywords.npz

`fsdd` is a clone of the data set's repository (github.com/Jakobovski/free-spoken-digit-dataset), its folder of
<digit>_<speaker>_<number>.wav, or an archive of the arrays x, y and idx. Clips become 1 s at 8 kHz, cut or followed by
silence. The split is the data set's own: recordings 0 to 4 of every speaker and digit are the test set; 5 to 9 are held
out for validation here. Then: hwnas run examples/keywords.yaml
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np

RATE = 8000
TEST, VALIDATION = 5, 10  # recordings below these numbers


def parts_of(recordings: np.ndarray) -> np.ndarray:
    """0 training, 1 validation, 2 test, of every recording's number."""
    return np.where(recordings < TEST, 2, np.where(recordings < VALIDATION, 1, 0))


def read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips int16 (N, RATE), their digits and their recordings' numbers (N,), of every .wav below `folder`."""
    clips, digits, numbers = [], [], []
    for path in sorted(folder.rglob("*_*_*.wav")):
        with wave.open(str(path)) as file:
            if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
                sys.exit(f"error: {path} is not one channel of 16 bits at {RATE} Hz")
            clip = np.frombuffer(file.readframes(RATE), "<i2")
        digit, _, number = path.stem.split("_")
        clips.append(np.pad(clip, (0, RATE - len(clip))))
        digits.append(int(digit))
        numbers.append(int(number))
    return np.array(clips, np.int16), np.array(digits), np.array(numbers)


def read(source: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if source.is_dir():
        return read_folder(source)
    with np.load(source) as held:
        return held["x"], held["y"], held["idx"]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/keywords.py <folder or .npz of the data set> <archive to write>")
    target = Path(sys.argv[2])
    if target.exists():
        sys.exit(f"error: {target} exists; hint: name a file that does not, or use it as it is")
    samples, labels, recordings = read(Path(sys.argv[1]))
    if not len(samples):
        sys.exit(f"error: {sys.argv[1]} holds no <digit>_<speaker>_<number>.wav")
    np.savez_compressed(target, samples=samples, labels=labels, part=parts_of(recordings))
    print(f"wrote {len(samples)} clips to {target}")
