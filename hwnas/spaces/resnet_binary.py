"""resnet_binary: a shortcut around every convolution (Bi-Real Net, Liu et al., ECCV 2018, arXiv:1808.00278).

Choices: resolution; depth and width a stage; kernel and precision a block. In w1a1 a block is sign, binary convolution,
batch norm, shortcut, PReLU; in fp32 and int8 the same block with an ordinary convolution and ReLU, so the fp32 twin of
a binary net is a fair one. The stem and the classifier are never binary.
Differs: learned sign thresholds (ReActNet, arXiv:2003.03488) and PReLU after the shortcut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwnas.network import Operator, Shape
from hwnas.space import SearchSpace
from hwnas.spaces.resolution import checked_size, odd_kernels, resolutions_for
from hwnas.spaces.staged import Skeleton, Stage, Values, checked_precisions, per_stage, staged


def resnet_binary(
    in_channels: int,
    classes: int,
    resolutions: Sequence[int] | None = None,
    stem_width: int = 64,
    stem_stride: int = 2,
    widths: Sequence[Any] = ((64, 96), (128, 192), (256, 384), (512, 640)),
    depths: Sequence[Any] = (2, 3, 4),
    strides: Sequence[int] = (1, 2, 2, 2),
    kernels: Sequence[int] = (3, 5),
    precisions: Sequence[str] = ("fp32", "int8", "w1a1"),
    image_size: Sequence[int] | None = None,
) -> SearchSpace:
    """The space for images of `in_channels` and `classes`. Widths and depths: options a stage (or one list for all).

    `image_size` is the data's (height, width): resolutions are lengths of the shorter side and keep its aspect, and
    are taken from it where none are given.

    Raises HwnasError on options that make no net.
    """
    stages = len(strides)
    listed = zip(per_stage(depths, "depths", stages), per_stage(widths, "widths", stages), strides, strict=True)
    return staged(
        Skeleton(
            name="resnet_binary",
            in_channels=in_channels,
            classes=classes,
            resolutions=resolutions_for(resolutions, image_size),
            image_size=checked_size(image_size),
            stem_width=stem_width,
            stem_stride=stem_stride,
            stem_activation="relu",
            last_width=0,
            stages=tuple(Stage(d, w, stride, _block) for d, w, stride in listed),
            block_choices={"kernel": odd_kernels(kernels)},
            precisions=checked_precisions(precisions),
        )
    )


def _block(shape_in: Shape, shape_out: Shape, stride: int, precision: str, v: Values) -> Operator:
    return Operator.of("bireal", shape_in, shape_out, precision, kernel=v["kernel"], stride=stride)
