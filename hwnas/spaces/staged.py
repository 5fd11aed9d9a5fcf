"""A chain of stages: the skeleton that `mobile` and `resnet_binary` fill with their own block.

    input -> stem -> stage 0 (depth, width; blocks) -> stage 1 -> ... -> [last] -> head -> output

Every block reads its predecessor's width, its own choices and its precision. Where the number format changes between
two neighbours (fp32 and w1a1 blocks exchange float32, int8 blocks uint8) the space puts a `convert` operator, so that a
mixed network pays for its conversions in the table like for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hwnas import formats
from hwnas.errors import HwnasError, nearest_names
from hwnas.network import FULL_PRECISION, Operator, Shape
from hwnas.space import Choice, SearchSpace, Slot, Value
from hwnas.spaces.resolution import ints, sides

#: of all stages at their deepest; ResNet-1202 (He et al., CVPR 2016) has 600
MOST_BLOCKS = 1000

Values = Mapping[str, Any]
# (operator kind's input shape, output shape, stride, precision, the block's own choices by suffix) -> operator
BlockBuilder = Callable[[Shape, Shape, int, str, Values], Operator]


@dataclass(frozen=True)
class Stage:
    """Options of one stage: how many blocks, how wide, and the stride of its first block."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stride: int
    block: BlockBuilder


@dataclass(frozen=True)
class Skeleton:
    """What all architectures of a staged space share."""

    name: str
    in_channels: int
    classes: int
    resolutions: tuple[int, ...]
    stem_width: int
    stem_stride: int
    stem_activation: str
    last_width: int
    stages: tuple[Stage, ...]
    block_choices: Mapping[str, tuple[Value, ...]]
    precisions: tuple[str, ...]
    image_size: tuple[int, int] | None = None  # (height, width) of the data: the aspect of every resolution

    @cached_property
    def sizes(self) -> dict[int, list[tuple[int, int]]]:
        """(height, width) after the stem and after each stage, by resolution."""
        return {resolution: _sizes(self, resolution) for resolution in self.resolutions}


def per_stage(values: Any, name: str, stages: int) -> tuple[tuple[int, ...], ...]:
    """`values` as one tuple of options a stage: a list of lists, or one list of options for every stage."""
    if isinstance(values, list | tuple) and values and all(isinstance(v, list | tuple) for v in values):
        if len(values) != stages:
            raise HwnasError(f"{name} must list options for each of the {stages} stages, got {len(values)} lists")
        return tuple(ints(v, f"{name}[{i}]") for i, v in enumerate(values))
    return tuple(ints(values, name) for _ in range(stages))


def checked_precisions(values: Sequence[str]) -> tuple[str, ...]:
    """The precisions asked for, most precise first; HwnasError on an unknown one."""
    known = formats.names()
    for value in values:
        if value not in known:
            raise HwnasError(
                f"precisions must be among {', '.join(known)}, got {value!r}", nearest=nearest_names(str(value), known)
            )
    return formats.ordered(values)


def downsampled(size: int, stride: int) -> int:
    """Output size of a same-padded layer: ceil(size / stride)."""
    return -(-size // stride)


def staged(skeleton: Skeleton) -> SearchSpace:
    """The space of a skeleton. Choices in order: resolution, stem, then a stage's depth, width and blocks.

    HwnasError where it has more than MOST_BLOCKS blocks.
    """
    blocks = sum(max(stage.depths) for stage in skeleton.stages)
    if blocks > MOST_BLOCKS:
        raise HwnasError(f"depths and strides make {blocks} blocks, a space may have {MOST_BLOCKS}")
    return SearchSpace(
        skeleton.name,
        tuple(_choices(skeleton)),
        tuple(_slots(skeleton)),
        skeleton.in_channels,
        skeleton.classes,
    )


def _ends(skeleton: Skeleton) -> tuple[str, ...]:
    """Precisions of stem, last convolution and head: the blocks' own, less those that ends cannot have (1-bit)."""
    own = tuple(p for p in skeleton.precisions if p in formats.of(p).ends)
    return own or checked_precisions([end for p in skeleton.precisions for end in formats.of(p).ends])


def _choices(s: Skeleton) -> list[Choice]:
    choices = [Choice("resolution", s.resolutions, "resolution"), Choice("stem.precision", _ends(s), "precision")]
    for i, stage in enumerate(s.stages):
        choices += [Choice(f"s{i}.depth", stage.depths), Choice(f"s{i}.width", stage.widths)]
        for j in range(max(stage.depths)):
            choices += [Choice(f"s{i}.b{j}.{suffix}", options) for suffix, options in s.block_choices.items()]
            choices.append(Choice(f"s{i}.b{j}.precision", s.precisions, "precision"))
    return [*choices, Choice("head.precision", _ends(s), "precision")]


def _sizes(s: Skeleton, resolution: int) -> list[tuple[int, int]]:
    """(height, width) after the stem and after each stage."""
    height, width = sides(resolution, s.image_size)
    sizes = []
    for stride in (s.stem_stride, *(stage.stride for stage in s.stages)):
        height, width = downsampled(height, stride), downsampled(width, stride)
        sizes.append((height, width))
    return sizes


def domain(precision: str) -> str:
    """The format of what a block gives its neighbours: its own codes, or plain floats."""
    return precision if formats.of(precision).exchange == "uint8" else FULL_PRECISION


def conversion(before: str, after: str, shape: Shape) -> Operator | None:
    """The operator between neighbours of these precisions, or None where they speak the same format."""
    if formats.of(before).exchange == formats.of(after).exchange:
        return None
    return Operator.of("convert", shape, shape, domain(after))


def _slots(s: Skeleton) -> list[Slot]:
    image = s.in_channels

    def enter(v: Values) -> Operator | None:
        return conversion(FULL_PRECISION, v["stem.precision"], (image, *sides(v["resolution"], s.image_size)))

    def stem(v: Values) -> Operator:
        return Operator.of(
            "conv_bn_act", (image, *sides(v["resolution"], s.image_size)),
            (s.stem_width, *s.sizes[v["resolution"]][0]), v["stem.precision"],
            kernel=3, stride=s.stem_stride, activation=s.stem_activation,
        )  # fmt: skip

    slots = [
        Slot("input", ("resolution", "stem.precision"), enter),
        Slot("stem", ("resolution", "stem.precision"), stem),
    ]
    for i in range(len(s.stages)):
        slots += _stage_slots(s, i)
    return slots + _tail_slots(s)


def _output_of(s: Skeleton, i: int) -> tuple[tuple[str, ...], Callable[[Values], tuple[int, str]]]:
    """Choices that decide the (width, precision) of what stage `i` gives (-1: the stem), and the function of them."""
    if i < 0:
        return ("stem.precision",), lambda v: (s.stem_width, v["stem.precision"])
    shallowest = min(s.stages[i].depths)
    lasts = tuple(f"s{i}.b{j}.precision" for j in range(shallowest - 1, max(s.stages[i].depths)))
    return (f"s{i}.depth", f"s{i}.width", *lasts), lambda v: (
        v[f"s{i}.width"],
        v[f"s{i}.b{v[f's{i}.depth'] - 1}.precision"],
    )


def _stage_slots(s: Skeleton, i: int) -> list[Slot]:
    stage = s.stages[i]
    slots = []
    for j in range(max(stage.depths)):
        name = f"s{i}.b{j}"
        own = tuple(f"{name}.{suffix}" for suffix in s.block_choices)
        before_names, before = _output_of(s, i - 1) if j == 0 else _inside(i, j - 1)
        slots.append(_convert_slot(s, i, j, before_names, before))
        width_before = f"s{i - 1}.width" if j == 0 and i > 0 else f"s{i}.width"
        depends = ("resolution", width_before, f"s{i}.width", f"s{i}.depth", f"{name}.precision", *own)
        slots.append(Slot(name, tuple(dict.fromkeys(depends)), _block_builder(s, i, j, own)))
    return slots


def _inside(i: int, j: int) -> tuple[tuple[str, ...], Callable[[Values], tuple[int, str]]]:
    return (f"s{i}.width", f"s{i}.b{j}.precision"), lambda v: (v[f"s{i}.width"], v[f"s{i}.b{j}.precision"])


def _convert_slot(
    s: Skeleton, i: int, j: int, before_names: tuple[str, ...], before: Callable[[Values], tuple[int, str]]
) -> Slot:
    precision, depth = f"s{i}.b{j}.precision", f"s{i}.depth"
    depends = tuple(dict.fromkeys(("resolution", depth, precision, *before_names)))

    def build(v: Values) -> Operator | None:
        if j >= v[depth]:
            return None
        size = s.sizes[v["resolution"]][i if j == 0 else i + 1]
        width, given = before(v)
        return conversion(given, v[precision], (width, *size))

    return Slot(f"s{i}.b{j}.convert", depends, build)


def _block_builder(s: Skeleton, i: int, j: int, own: tuple[str, ...]) -> Callable[[Values], Operator | None]:
    stage, name = s.stages[i], f"s{i}.b{j}"

    def build(v: Values) -> Operator | None:
        if j >= v[f"s{i}.depth"]:
            return None
        sizes = s.sizes[v["resolution"]]
        width_in = v[f"s{i}.width"] if j else (v[f"s{i - 1}.width"] if i else s.stem_width)
        choices = {full.rsplit(".", 1)[1]: v[full] for full in own}
        shape_in, shape_out = (width_in, *sizes[i if j == 0 else i + 1]), (v[f"s{i}.width"], *sizes[i + 1])
        return stage.block(shape_in, shape_out, stage.stride if j == 0 else 1, v[f"{name}.precision"], choices)

    return build


def _tail_slots(s: Skeleton) -> list[Slot]:
    """Conversion, optional 1x1 convolution to `last_width`, global pool and classifier, conversion to float32."""
    final = len(s.stages) - 1
    names, before = _output_of(s, final)
    width = f"s{final}.width"

    def convert(v: Values) -> Operator | None:
        channels, given = before(v)
        return conversion(given, v["head.precision"], (channels, *s.sizes[v["resolution"]][-1]))

    def last(v: Values) -> Operator:
        size = s.sizes[v["resolution"]][-1]
        return Operator.of(
            "conv_bn_act", (v[width], *size), (s.last_width, *size), v["head.precision"],
            kernel=1, stride=1, activation=s.stem_activation,
        )  # fmt: skip

    def head(v: Values) -> Operator:
        shape = (s.last_width or v[width], *s.sizes[v["resolution"]][-1])
        return Operator.of("pool_dense", shape, (s.classes,), v["head.precision"], classes=s.classes)

    def leave(v: Values) -> Operator | None:
        return conversion(v["head.precision"], FULL_PRECISION, (s.classes,))

    reads = ("resolution", width, "head.precision")
    slots = [Slot("head.convert", tuple(dict.fromkeys(("resolution", "head.precision", *names))), convert)]
    if s.last_width:
        slots.append(Slot("last", reads, last))
    return [*slots, Slot("head", reads, head), Slot("output", ("head.precision",), leave)]
