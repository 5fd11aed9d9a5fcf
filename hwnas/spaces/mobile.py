"""mobile: MobileNetV3-like inverted residuals (Howard et al., ICCV 2019, arXiv:1905.02244).

Choices: resolution; depth and width a stage; kernel, expansion, squeeze-excite and precision a block.
Differs: one 1x1 convolution before the pool instead of MobileNetV3's pooled two-layer head; options a block,
as in Once-for-All (arXiv:1908.09791).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwnas.errors import HwnasError
from hwnas.network import Operator, Shape
from hwnas.space import SearchSpace
from hwnas.spaces.resolution import checked_size, ints, odd_kernels, resolutions_for
from hwnas.spaces.staged import BlockBuilder, Skeleton, Stage, Values, checked_precisions, per_stage, staged


def mobile(
    in_channels: int,
    classes: int,
    resolutions: Sequence[int] | None = None,
    stem_width: int = 16,
    stem_stride: int = 2,
    widths: Sequence[Any] = ((16, 24), (32, 40), (64, 80), (96, 112), (128, 160)),
    depths: Sequence[Any] = (2, 3, 4),
    strides: Sequence[int] = (2, 2, 2, 1, 2),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 4, 6),
    squeeze_excite: Sequence[bool] = (False, True),
    precisions: Sequence[str] = ("fp32", "int8", "w1a1"),
    activations: Sequence[str] | None = None,
    last_width: int = 0,
    image_size: Sequence[int] | None = None,
) -> SearchSpace:
    """The space for images of `in_channels` and `classes`. Widths and depths: options a stage (or one list for all).

    `image_size` is the data's (height, width): resolutions are lengths of the shorter side and keep its aspect, and
    are taken from it where none are given.

    `activations` is one name a stage (relu or hswish); MobileNetV3's rule, relu in the first half, hswish after, is the
    default. `last_width` 0 leaves the 1x1 convolution before the pool out. Raises HwnasError where no net can be made.
    """
    stages = len(strides)
    names = (
        tuple(activations)
        if activations
        else tuple("relu" if i < (stages + 1) // 2 else "hswish" for i in range(stages))
    )
    if len(names) != stages or set(names) - {"relu", "hswish"}:
        raise HwnasError(f"activations must give relu or hswish for each of {stages} stages, got {list(names)}")
    listed = zip(per_stage(depths, "depths", stages), per_stage(widths, "widths", stages), strides, names, strict=True)
    return staged(
        Skeleton(
            name="mobile",
            in_channels=in_channels,
            classes=classes,
            resolutions=resolutions_for(resolutions, image_size),
            image_size=checked_size(image_size),
            stem_width=stem_width,
            stem_stride=stem_stride,
            stem_activation="relu",
            last_width=last_width,
            stages=tuple(Stage(d, w, stride, _block(name)) for d, w, stride, name in listed),
            block_choices={
                "kernel": odd_kernels(kernels),
                "expansion": ints(expansions, "expansions"),
                "se": tuple(sorted(set(map(bool, squeeze_excite)))),
            },
            precisions=checked_precisions(precisions),
        )
    )


def _block(activation: str) -> BlockBuilder:
    def build(shape_in: Shape, shape_out: Shape, stride: int, precision: str, v: Values) -> Operator:
        return Operator.of(
            "inverted_residual", shape_in, shape_out, precision,
            kernel=v["kernel"], stride=stride, expansion=v["expansion"], se=v["se"], activation=activation,
        )  # fmt: skip

    return build
