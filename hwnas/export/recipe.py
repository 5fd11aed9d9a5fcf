"""How a user's image becomes the input of a model whose preprocessing is outside: as data, in Python and in C.

The recipe is written into the manifest and into the ONNX file's own metadata, so that a library compiled from the file
alone carries it too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.ops.numeric.resample import real_weights

if TYPE_CHECKING:
    from onnx import ModelProto

METADATA = "hwnas.preprocess"
RESIZE = "bilinear, antialiased, half-pixel centres"
ORDER = ["resize", "normalise", "transpose"]
ELEMENTS = {"uint8": "unsigned char", "float32": "float"}


@dataclass(frozen=True)
class Recipe:
    """Resize to `size` (h, w), then (pixel - mean) / std a channel, then HWC to NCHW.

    `mean` and `std` (C,) are in the units of the training images, whose own size was `data_size` and whose pixels, of
    type `pixels`, were seen to take values from `seen[0]` to `seen[1]`.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_size: tuple[int, int]
    seen: tuple[float, float]
    pixels: str = "uint8"

    def __post_init__(self) -> None:
        finite = np.isfinite([*self.mean, *self.std, *self.seen]).all()
        sizes = (*self.size, *self.data_size)
        if len(self.mean) != len(self.std) or not self.mean or not finite or min(self.std) <= 0 or min(sizes) < 1:
            raise HwnasError(f"a preprocessing recipe needs sizes, means and deviations above 0, got {self}")
        if self.pixels not in ELEMENTS:
            raise HwnasError(f"pixels must be {' or '.join(ELEMENTS)}, got {self.pixels!r}")

    def record(self) -> dict[str, Any]:
        """For manifest and metadata: every step with its constants, in the order it is done."""
        channels = len(self.mean)
        return {
            "where": "outside",
            "image": {
                "layout": "HWC", "type": self.pixels, "channels": channels,
                "data_size": list(self.data_size), "values_seen": list(self.seen),
            },
            "order": ORDER,
            "resize": {"algorithm": RESIZE, "height": self.size[0], "width": self.size[1]},
            "normalise": {"formula": "(pixel - mean) / std", "mean": list(self.mean), "std": list(self.std)},
            "input": {"layout": "NCHW", "type": "float32", "shape": [1, channels, *self.size]},
        }  # fmt: skip


def recipe_from(record: Mapping[str, Any]) -> Recipe:
    """The recipe of a manifest's entry, of its `preprocess` value or of an ONNX file's metadata. HwnasError if none."""
    try:
        given = record.get("preprocess", record)
        if given["where"] == "inside":
            raise HwnasError("this model takes raw images: its preprocessing is inside", hint="give it the pixels")
        if given["order"] != ORDER or given["resize"]["algorithm"] != RESIZE:
            raise HwnasError(f"a preprocessing recipe must be {RESIZE}, in the order {', '.join(ORDER)}")
        image, resize, normalise = given["image"], given["resize"], given["normalise"]
        numbers = [tuple(float(v) for v in normalise[key]) for key in ("mean", "std")]
        low, high = (float(v) for v in image["values_seen"])
        height, width = (int(v) for v in image["data_size"])
        size = (int(resize["height"]), int(resize["width"]))
        return Recipe(size, numbers[0], numbers[1], (height, width), (low, high), str(image["type"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
        raise HwnasError(f"not a preprocessing recipe: {type(problem).__name__} {problem}") from None


def preprocess(images: np.ndarray, manifest_entry: Mapping[str, Any]) -> np.ndarray:
    """Raw images (N, H, W, C) or (H, W, C), of any size, as the float32 (N, C, h, w) that the model takes.

    `manifest_entry` is the file's entry of manifest.json, or its `preprocess` value. The reference: slow and plain.
    """
    recipe = recipe_from(manifest_entry)
    pixels = np.asarray(images)
    pixels = pixels[None] if pixels.ndim == 3 else pixels
    if pixels.ndim != 4 or pixels.shape[3] != len(recipe.mean) or 0 in pixels.shape or pixels.dtype.kind not in "uif":
        raise HwnasError(f"images must be (N, H, W, {len(recipe.mean)}), got {pixels.dtype} {pixels.shape}")
    planes = pixels.astype(np.float64).transpose(0, 3, 1, 2)
    rows, columns = (real_weights(a, b) for a, b in zip(planes.shape[2:], recipe.size, strict=True))
    resized = rows @ planes @ columns.T
    mean, std = (np.array(values)[:, None, None] for values in (recipe.mean, recipe.std))
    return ((resized - mean) / std).astype(np.float32)


def with_record(model: ModelProto, record: Mapping[str, Any]) -> ModelProto:
    """The model with the record in its metadata."""
    from onnx import helper

    helper.set_model_props(model, {METADATA: json.dumps(record, sort_keys=True)})
    return model


def record_of(model: ModelProto) -> dict[str, Any] | None:
    """What a model's metadata say of its preprocessing, checked; None where they say nothing."""
    text = next((item.value for item in model.metadata_props if item.key == METADATA), None)
    if text is None:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        raise HwnasError(f"the model's metadata {METADATA} are not JSON", hint="export it again") from None
    if isinstance(record, dict) and record.get("where") == "inside":
        return record
    return recipe_from(record).record()


C_FUNCTION = """
/* One raw image ({layout}) of height x width pixels to the model's input (NCHW, {channels} x {height} x {width}):
   resized ({resize}), then (pixel - mean) / std a channel. The reference: slow and plain. */
static void {name}_preprocess(const {element} *hwc, int height, int width, float *nchw)
{{
    static const double mean[{channels}] = {{{mean}}}, std[{channels}] = {{{std}}};
    const double down = (double)height / {height}, across = (double)width / {width};
    const double reach_y = down > 1 ? down : 1, reach_x = across > 1 ? across : 1;
    for (int y = 0; y < {height}; ++y)
        for (int x = 0; x < {width}; ++x) {{
            const double centre_y = (y + 0.5) * down, centre_x = (x + 0.5) * across;
            double sum[{channels}] = {{0}}, total = 0;
            for (int i = centre_y > reach_y ? (int)(centre_y - reach_y) : 0; i < height; ++i) {{
                double far_y = (i + 0.5 - centre_y) / reach_y;
                if (far_y >= 1)
                    break;
                for (int j = centre_x > reach_x ? (int)(centre_x - reach_x) : 0; j < width; ++j) {{
                    double far_x = (j + 0.5 - centre_x) / reach_x;
                    if (far_x >= 1)
                        break;
                    double weight = (1 - (far_y < 0 ? -far_y : far_y)) * (1 - (far_x < 0 ? -far_x : far_x));
                    if (far_y <= -1 || far_x <= -1)
                        continue;
                    total += weight;
                    for (int c = 0; c < {channels}; ++c)
                        sum[c] += weight * hwc[((long)i * width + j) * {channels} + c];
                }}
            }}
            for (int c = 0; c < {channels}; ++c)
                nchw[(c * {height} + y) * {width} + x] = (float)((sum[c] / total - mean[c]) / std[c]);
        }}
}}
"""


def c_function(recipe: Recipe, name: str) -> str:
    """`<name>_preprocess` in C, for example.c."""
    return C_FUNCTION.format(
        name=name,
        layout="HWC",
        resize=RESIZE,
        element=ELEMENTS[recipe.pixels],
        channels=len(recipe.mean),
        height=recipe.size[0],
        width=recipe.size[1],
        mean=", ".join(map(repr, recipe.mean)),
        std=", ".join(map(repr, recipe.std)),
    )


def c_call(recipe: Recipe, name: str) -> str:
    """The lines of example.c's main that make an image of the data's own size and preprocess it."""
    height, width = recipe.data_size
    element = ELEMENTS[recipe.pixels]
    return (
        f"    static {element} image[{height} * {width} * {len(recipe.mean)}];\n"
        "    for (size_t i = 0; i < sizeof image / sizeof *image; ++i)\n"
        f"        image[i] = ({element})(i * 37 % 256);\n"
        f"    {name}_preprocess(image, {height}, {width}, input);"
    )
