"""flexibert: encoders of texts whose layers differ in width, heads, feed-forward width and stacks, and in where they
normalise (Tuli et al., FlexiBERT, JAIR 2023, arXiv:2205.11656).

    tokens -> embedding -> layer 1 -> ... -> layer `depth` -> LayerNorm, mean over the words, dense: (classes,)
    layer: [dense rows, where the width changes] -> attention -> 1 to n feed-forward blocks

Differs: every layer attends by scaled dot products (no weighted product, Fourier transform or convolution); stacked
feed-forward blocks each have a residual and a norm; where each layer normalises is a choice, and the head normalises
once more, which a pre-norm encoder needs and a post-norm one is unchanged by but for its scales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas import formats
from hwnas.errors import HwnasError
from hwnas.network import FULL_PRECISION, INPUT, Operator, Port, Shape
from hwnas.space import PREVIOUS, Choice, SearchSpace, Slot, Value
from hwnas.spaces.resolution import ints
from hwnas.spaces.staged import checked_precisions, conversion

Values = Mapping[str, Any]
NORMS = ("post", "pre")


def flexibert(
    classes: int,
    vocabulary: int,
    length: int,
    depths: Sequence[int] = (2, 3),
    widths: Sequence[int] = (32, 64),
    heads: Sequence[int] = (1, 2, 4),
    hidden: Sequence[int] = (64, 128),
    stacks: Sequence[int] = (1, 2),
    norms: Sequence[str] = NORMS,
    precisions: Sequence[str] = ("fp32", "int8"),
) -> SearchSpace:
    """The space for texts of `length` tokens below `vocabulary`; every list holds the options of each layer.

    HwnasError where some number of heads does not divide some width, or an option is none.
    """
    s = _Skeleton(
        classes, vocabulary, length, ints(depths, "depths"), ints(widths, "widths"), ints(heads, "heads"),
        ints(hidden, "hidden"), ints(stacks, "stacks"), _norms(norms), _precisions(precisions),
    )  # fmt: skip
    unequal = [(width, count) for width in s.widths for count in s.heads if width % count]
    if unequal:
        raise HwnasError(f"heads must divide every width, and {unequal[0][1]} does not divide {unequal[0][0]}")
    choices, slots = [Choice("depth", s.depths, "depth")], [_embedding(s)]
    for i in range(1, s.depths[-1] + 1):
        choices += _choices(s, i)
        slots += _layer(s, i)
    slots += _head(s)
    return SearchSpace("flexibert", tuple(choices), tuple(slots), 1, classes, sharing=_sharing)


def _sharing(operator: Operator) -> str:
    """A projection is to a wider or to a narrower layer, and neither is a part of the other; all else is entangled."""
    return f"{operator.input_shape[1]}-{operator.output_shape[1]}" if operator.kind == "dense_rows" else ""


def _norms(values: Any) -> tuple[str, ...]:
    listed = values if isinstance(values, list | tuple) else [values]
    if not listed or any(value not in NORMS for value in listed):
        raise HwnasError(f"norms must be among {', '.join(NORMS)}, got {values!r}")
    return tuple(name for name in NORMS if name in listed)


def _precisions(values: Sequence[str]) -> tuple[str, ...]:
    listed = checked_precisions(values)
    signs = [name for name in listed if formats.of(name).arithmetic == "signs"]
    if signs:
        raise HwnasError(f"encoder layers have no 1-bit form, got {signs[0]}", hint="precisions: [fp32, int8]")
    return listed


@dataclass(frozen=True)
class _Skeleton:
    classes: int
    vocabulary: int
    length: int
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    heads: tuple[int, ...]
    hidden: tuple[int, ...]
    stacks: tuple[int, ...]
    norms: tuple[str, ...]
    precisions: tuple[str, ...]

    @property
    def tokens(self) -> Port:
        return Port((self.length,), "int64")

    def rows(self, width: int) -> Shape:
        return (self.length, width)

    def ends(self, suffix: str) -> tuple[str, ...]:
        """The choices of this name of every layer that may be the last."""
        return tuple(f"l{i}.{suffix}" for i in self.depths)


def _choices(s: _Skeleton, i: int) -> list[Choice]:
    found: dict[str, tuple[Value, ...]] = {"width": s.widths, "heads": s.heads, "stacks": s.stacks, "norm": s.norms}
    choices = [Choice(f"l{i}.{name}", options) for name, options in found.items()]
    choices += [Choice(f"l{i}.hidden{j}", s.hidden) for j in range(1, s.stacks[-1] + 1)]
    return [*choices, Choice(f"l{i}.precision", s.precisions, "precision")]


def _embedding(s: _Skeleton) -> Slot:
    def build(values: Values) -> Operator:
        return Operator.of("token_embedding", s.tokens, s.rows(values["l1.width"]), vocabulary=s.vocabulary)

    return Slot("embedding", ("l1.width",), build, (INPUT,))


def _layer(s: _Skeleton, i: int) -> list[Slot]:
    """Conversion to the layer's precision, projection to its width, attention, feed-forward blocks."""
    own, before = f"l{i}", f"l{i - 1}"
    width, precision, norm = f"{own}.width", f"{own}.precision", f"{own}.norm"

    def convert(values: Values) -> Operator | None:
        given = values[f"{before}.precision"] if i > 1 else FULL_PRECISION
        held = values[f"{before}.width"] if i > 1 else values[width]
        return conversion(given, values[precision], s.rows(held)) if i <= values["depth"] else None

    def project(values: Values) -> Operator | None:
        here, held = values[width], values[f"{before}.width"]
        if i > values["depth"] or here == held:
            return None
        return Operator.of("dense_rows", s.rows(held), s.rows(here), values[precision])

    def attend(values: Values) -> Operator | None:
        if i > values["depth"]:
            return None
        rows = s.rows(values[width])
        return Operator.of(
            "encoder_attention", (rows, s.tokens), rows, values[precision],
            heads=values[f"{own}.heads"], norm=values[norm], vocabulary=s.vocabulary,
        )  # fmt: skip

    earlier = (f"{before}.width", f"{before}.precision") if i > 1 else ()
    slots = [Slot(f"{own}.convert", ("depth", *earlier, width, precision), convert)]
    if i > 1:
        slots.append(Slot(f"{own}.project", ("depth", f"{before}.width", width, precision), project))
    reads = ("depth", width, f"{own}.heads", norm, precision)
    slots.append(Slot(f"{own}.attention", reads, attend, (PREVIOUS, INPUT)))
    return slots + [_feed_forward(s, i, j) for j in range(1, s.stacks[-1] + 1)]


def _feed_forward(s: _Skeleton, i: int, j: int) -> Slot:
    own = f"l{i}"

    def build(values: Values) -> Operator | None:
        if i > values["depth"] or j > values[f"{own}.stacks"]:
            return None
        rows, precision = s.rows(values[f"{own}.width"]), values[f"{own}.precision"]
        hidden, norm = values[f"{own}.hidden{j}"], values[f"{own}.norm"]
        return Operator.of("encoder_mlp", rows, rows, precision, hidden=hidden, norm=norm)

    names = ("width", "stacks", f"hidden{j}", "norm", "precision")
    return Slot(f"{own}.mlp{j}", ("depth", *(f"{own}.{name}" for name in names)), build)


def _head(s: _Skeleton) -> list[Slot]:
    def convert(values: Values) -> Operator | None:
        last = f"l{values['depth']}"
        return conversion(values[f"{last}.precision"], FULL_PRECISION, s.rows(values[f"{last}.width"]))

    def classify(values: Values) -> Operator:
        rows = s.rows(values[f"l{values['depth']}.width"])
        return Operator.of(
            "token_classifier", (rows, s.tokens), (s.classes,), classes=s.classes, vocabulary=s.vocabulary
        )

    return [
        Slot("head.convert", ("depth", *s.ends("width"), *s.ends("precision")), convert),
        Slot("head", ("depth", *s.ends("width")), classify, (PREVIOUS, INPUT)),
    ]
