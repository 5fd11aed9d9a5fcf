"""What an exported file takes: raw images where `preprocess: inside`, else what training saw, and how to make it."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.data import Data, Images, balanced
from hwnas.errors import HwnasError
from hwnas.export.quantise import Given, places
from hwnas.export.recipe import ELEMENTS, Recipe
from hwnas.network import Network, Port
from hwnas.ops import primitive_of, reads_pixels
from hwnas.pipeline.job import Job
from hwnas.protocols import Named


def reads_raw(network: Network) -> bool:
    """Whether preprocessing is part of this network."""
    return reads_pixels(network.nodes[0].operator)


def inputs(job: Job, network: Network, split: str, indices: np.ndarray | slice) -> Given:
    """Examples of a split as the exported file takes them: uint8 (n, H, W, C), or what training saw, images at the
    network's own size. Of several inputs all that the network reads, by name."""
    if reads_raw(network):
        return _images(job.data).raw(split, indices)
    from hwnas.supernet import fitted

    given = fitted(network, job.data.batch(split, indices).given)
    arrays = {name: given[name].numpy() for name in network.inputs}
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def typical_inputs(job: Job, network: Network) -> Given:
    """The examples that calibration sees: those of batch-norm recalibration."""
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


def ends_record(job: Job, network: Network) -> dict[str, Any]:
    """The file's input and output, for its manifest: of several a list of each, by name. An only output has the classes
    that it stands for, where the data name them."""
    given = [{"name": name, **_input(port, reads_raw(network))} for name, port in network.inputs.items()]
    gives = [{"name": name, "shape": [1, *network.ports[node].shape]} for name, node in network.gives.items()]
    classes = {"classes": list(job.data.classes)} if isinstance(job.data, Named) and len(gives) == 1 else {}
    return _one_or_all("input", given) | _one_or_all("output", [end | classes for end in gives])


def _input(port: Port, raw: bool) -> dict[str, Any]:
    layouts = {3: "NHWC" if raw else "NCHW", 2: "NCT", 1: "NT"}
    layout = layouts.get(len(port.shape), "N...")
    return {"shape": [1, *port.shape], "type": "uint8" if raw else port.dtype, "layout": layout}


def _one_or_all(what: str, ends: list[dict[str, Any]]) -> dict[str, Any]:
    """An only end goes without its name, which no file carries."""
    return {f"{what}s": ends} if len(ends) > 1 else {what: {k: v for k, v in ends[0].items() if k != "name"}}


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
