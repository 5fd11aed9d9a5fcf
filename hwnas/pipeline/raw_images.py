"""What an exported file takes: raw images where `preprocess: inside`, else what training saw, and how to make it."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.data import Data, Images, balanced
from hwnas.errors import HwnasError
from hwnas.export.quantise import places
from hwnas.export.recipe import ELEMENTS, Recipe
from hwnas.network import Network
from hwnas.ops import primitive_of, reads_pixels
from hwnas.pipeline.job import Job
from hwnas.protocols import Named


def reads_raw(network: Network) -> bool:
    """Whether preprocessing is part of this network."""
    return reads_pixels(network.nodes[0].operator)


def inputs(job: Job, network: Network, split: str, indices: np.ndarray | slice) -> np.ndarray:
    """Examples of a split as the exported file takes them: uint8 (n, H, W, C), or what training saw, images at the
    network's own size."""
    if reads_raw(network):
        return _images(job.data).raw(split, indices)
    from hwnas.supernet import resize

    given = job.data.batch(split, indices).images
    resized: np.ndarray = (resize(given, network.input_shape) if given.ndim == 4 else given).numpy()
    return resized


def typical_inputs(job: Job, network: Network) -> np.ndarray:
    """The images that calibration sees: those of batch-norm recalibration."""
    return inputs(job, network, "train", _typical(job))


def data_constants(job: Job, network: Network) -> dict[str, np.ndarray]:
    """What the data give to `fold`: the training pixels' mean and deviation, where the network normalises."""
    asked = {
        f"{place.name}.{name}": name
        for place in places(network)
        for name in primitive_of(place.layer.kind).constants(place.layer)
    }
    if not asked:
        return {}
    data = _images(job.data)
    held = {"mean": data.mean, "std": data.std}
    return {full: np.asarray(held[name], np.float32) for full, name in asked.items()}


def class_names(job: Job) -> dict[str, list[str]]:
    """The classes that the outputs stand for, where the data name them."""
    return {"classes": list(job.data.classes)} if isinstance(job.data, Named) else {}


def input_record(network: Network) -> dict[str, Any]:
    """The file's input, for its manifest."""
    raw, port = reads_raw(network), next(iter(network.inputs.values()))
    shape, layouts = port.shape, {3: "NHWC" if raw else "NCHW", 2: "NCT", 1: "NT"}
    return {"shape": [1, *shape], "type": "uint8" if raw else port.dtype, "layout": layouts.get(len(shape), "N...")}


def preprocess_record(job: Job, network: Network) -> dict[str, Any] | None:
    """How images become that input: nothing to do, or the recipe (export/recipe.py). None for data that are no images:
    the file takes what training saw."""
    if not isinstance(job.data, Images):
        return None
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
    """HwnasError unless the data are images whose pixels are bytes: raw images are what a camera or a decoder gives."""
    pixels = _images(data).pixels
    if pixels.dtype != np.uint8:
        raise HwnasError(
            f"preprocess: inside needs uint8 images, data {data.name} holds {pixels.dtype}", hint="preprocess: outside"
        )


def _images(data: Data) -> Images:
    if not isinstance(data, Images):
        held = ", ".join(f"{name} {port}" for name, port in data.inputs.items())
        raise HwnasError(f"preprocess: inside needs images, data {data.name} holds {held}", hint="preprocess: outside")
    return data


def _typical(job: Job) -> np.ndarray:
    return balanced(job.data, "train", job.config.search.recalibration_images, job.config.seed)
