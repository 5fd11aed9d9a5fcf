"""What an exported file takes: raw images where `preprocess: inside`, else normalised ones and the recipe for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.data import Data, balanced
from hwnas.errors import HwnasError
from hwnas.export.quantise import places
from hwnas.export.recipe import ELEMENTS, Recipe
from hwnas.network import Network
from hwnas.ops import primitive_of, reads_pixels
from hwnas.pipeline.job import Job


def reads_raw(network: Network) -> bool:
    """Whether preprocessing is part of this network."""
    return reads_pixels(network.nodes[0].operator)


def inputs(job: Job, network: Network, split: str, indices: np.ndarray | slice) -> np.ndarray:
    """Images of a split as the exported file takes them: uint8 (n, H, W, C), or float32 (n, C, h, w)."""
    if reads_raw(network):
        return job.data.raw(split, indices)
    from hwnas.supernet import resize

    resized: np.ndarray = resize(job.data.batch(split, indices).images, network.input_shape).numpy()
    return resized


def typical_inputs(job: Job, network: Network) -> np.ndarray:
    """The images that calibration sees: those of batch-norm recalibration."""
    return inputs(job, network, "train", _typical(job))


def data_constants(job: Job, network: Network) -> dict[str, np.ndarray]:
    """What the data give to `fold`: the training pixels' mean and deviation, where the network normalises."""
    held = {"mean": job.data.mean, "std": job.data.std}
    return {
        f"{place.name}.{name}": np.asarray(held[name], np.float32)
        for place in places(network)
        for name in primitive_of(place.layer.kind).constants(place.layer)
    }


def input_record(network: Network) -> dict[str, Any]:
    """The file's input, for its manifest."""
    kind = ("uint8", "NHWC") if reads_raw(network) else ("float32", "NCHW")
    return {"shape": [1, *network.input_shape], "type": kind[0], "layout": kind[1]}


def preprocess_record(job: Job, network: Network) -> dict[str, Any]:
    """How images become that input: nothing to do, or the recipe (export/recipe.py)."""
    mean, std = tuple(map(float, job.data.mean)), tuple(map(float, job.data.std))
    if reads_raw(network):
        size = network.nodes[0].operator.output_shape[1:]
        return {"where": "inside", "resize": list(size), "mean": list(mean), "std": list(std)}
    raw = job.data.pixels[job.data.places["train"][_typical(job)]]
    kind = raw.dtype.name if raw.dtype.name in ELEMENTS else "float32"
    height, width = job.data.facts["image_size"]
    seen = (float(raw.min()), float(raw.max()))
    return Recipe(network.input_shape[1:], mean, std, (height, width), seen, kind).record()  # type: ignore[arg-type]


def require_whole_numbers(data: Data) -> None:
    """HwnasError unless the data's pixels are bytes: raw images are what a camera or a decoder gives."""
    if data.pixels.dtype != np.uint8:
        raise HwnasError(
            f"preprocess: inside needs uint8 images, data {data.name} holds {data.pixels.dtype}",
            hint="preprocess: outside",
        )


def _typical(job: Job) -> np.ndarray:
    return balanced(job.data, "train", job.config.search.recalibration_images, job.config.seed)
