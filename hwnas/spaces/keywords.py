"""keywords: spoken words from raw samples, a depthwise separable net over log-mel bands (DS-CNN, Zhang et al. 2017,
Hello Edge, arXiv:1711.07128).

    samples -> log_mel, fp32 -> conv 3x3, stride 2 -> depthwise separable blocks -> global pool -> classifier

Choices: depth and width a stage; kernel and precision a block. The bands are a part of every network: a table holds
what they cost, and an exported file takes samples. Frames of 40 ms every 20 ms, 49 of a second, as the authors train
(github.com/ARM-software/ML-KWS-for-MCU, train_commands.txt).
Differs: 40 bands of the mel scale where that has 10 coefficients of a cosine transform, a 3x3 stem for 10x4, stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwnas import formats
from hwnas.errors import HwnasError
from hwnas.network import Operator, Shape
from hwnas.space import SearchSpace, Slot
from hwnas.spaces.resolution import odd_kernels
from hwnas.spaces.staged import Skeleton, Stage, Values, checked_precisions, per_stage, staged

NAME = "log_mel"


def keywords(
    classes: int,
    samples: int,
    rate: int,
    frame_ms: float = 40,
    hop_ms: float = 20,
    bands: int = 40,
    stem_width: int = 32,
    widths: Sequence[Any] = ((32, 48, 64), (48, 64, 96)),
    depths: Sequence[Any] = (1, 2, 3),
    strides: Sequence[int] = (1, 2),
    kernels: Sequence[int] = (3, 5),
    precisions: Sequence[str] = ("fp32", "int8"),
) -> SearchSpace:
    """The space for clips of `samples` at `rate` Hz in one channel. Widths and depths: options a stage (or one list for
    all). HwnasError where no frame fits into a clip, or bands are so many that one holds no frequency.
    """
    operator = front_end(samples, rate, frame_ms, hop_ms, bands)
    signs = [name for name in checked_precisions(precisions) if formats.of(name).arithmetic == "signs"]
    if signs:
        raise HwnasError(f"keywords has no {signs[0]} blocks", hint="precisions: [fp32, int8]")
    stages = len(strides)
    listed = zip(per_stage(depths, "depths", stages), per_stage(widths, "widths", stages), strides, strict=True)
    size = operator.output_shape[1:]
    space = staged(
        Skeleton(
            name="keywords",
            in_channels=1,
            classes=classes,
            resolutions=(min(size),),
            image_size=(size[0], size[1]),
            stem_width=stem_width,
            stem_stride=2,
            stem_activation="relu",
            last_width=0,
            stages=tuple(Stage(depth, width, stride, _block) for depth, width, stride in listed),
            block_choices={"kernel": odd_kernels(kernels)},
            precisions=checked_precisions(precisions),
        )
    )
    return replace(space, slots=(Slot(NAME, (), lambda values: operator), *space.slots))


def front_end(samples: int, rate: int, frame_ms: float, hop_ms: float, bands: int) -> Operator:
    """The operator from (1, samples) to (1, frames, bands)."""
    for name, value in (("samples", samples), ("rate", rate), ("bands", bands)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise HwnasError(f"{name} must be a whole number of at least 1, got {value!r}")
    frame, hop = _samples_of(frame_ms, rate, "frame_ms"), _samples_of(hop_ms, rate, "hop_ms")
    if not 2 <= frame <= samples:
        raise HwnasError(f"frame_ms {frame_ms} is {frame} samples at {rate} Hz, clips have {samples}")
    from hwnas.ops.log_mel import mel_bands

    empty = int(np.sum(~mel_bands(bands, frame, rate).any(axis=1)))
    if empty:
        raise HwnasError(
            f"{empty} of {bands} bands hold no frequency of frames of {frame} samples at {rate} Hz",
            hint="fewer bands or a longer frame_ms",
        )
    frames = (samples - frame) // hop + 1
    return Operator.of(NAME, (1, samples), (1, frames, bands), frame=frame, hop=hop, rate=rate)


def _samples_of(duration_ms: float, rate: int, name: str) -> int:
    """A duration as whole samples; HwnasError where it is none."""
    if isinstance(duration_ms, bool) or not isinstance(duration_ms, int | float) or not 0 < duration_ms < 60_000:
        raise HwnasError(f"{name} must be a number of milliseconds above 0, got {duration_ms!r}")
    return max(1, round(duration_ms * rate / 1000))


def _block(shape_in: Shape, shape_out: Shape, stride: int, precision: str, v: Values) -> Operator:
    return Operator.of("depthwise_separable", shape_in, shape_out, precision, kernel=v["kernel"], stride=stride)
