"""log_mel: raw samples, (S,) or (1, S), to log-mel bands (1, frames, bands): the front end of sound inside the model.

    y[t, b] = log(sum_k mel[b, k] |sum_n window[n] x[t hop + n] exp(-2 pi i k n / frame)|^2 + 1e-6)

Frames do not reach beyond the samples; the window is Hann's, periodic; bands are triangles over the mel scale of
O'Shaughnessy, 2595 log10(1 + f / 700), each of weight 1 at its middle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, final

import numpy as np

from hwnas.network import Layer, elements
from hwnas.ops.primitive import Arrays, Codes, Graph, Primitive

if TYPE_CHECKING:
    import torch

FLOOR = np.float32(1e-6)  # of the power: silence has a logarithm


@lru_cache(maxsize=64)
def waves(frame: int) -> np.ndarray:
    """Windowed cosines, then sines, of frequencies 0 to frame / 2: f32 (2 (frame // 2 + 1), frame)."""
    time = np.arange(frame)
    angle = 2 * np.pi * np.arange(frame // 2 + 1)[:, None] * time / frame
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / frame)
    found: np.ndarray = (np.concatenate([np.cos(angle), np.sin(angle)]) * hann).astype(np.float32)
    return found


@lru_cache(maxsize=64)
def mel_bands(bands: int, frame: int, rate: int) -> np.ndarray:
    """Weights of every frequency in every band, between 0 and rate / 2: f32 (bands, frame // 2 + 1)."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequency = np.arange(frame // 2 + 1) * rate / frame
    rise = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    found: np.ndarray = np.clip(np.minimum(rise, fall), 0, None).astype(np.float32)
    return found


@final
class LogMel(Primitive):
    """No parameters. Attributes: `frame` and `hop` in samples, `rate` in Hz. A float layer: powers span more than 8
    bits do."""

    is_approximate = True

    def macs(self, layer: Layer) -> int:
        _, frames, bands = layer.out_shape
        return frames * (waves(layer["frame"]).size + bands * 2 * (layer["frame"] // 2 + 1))

    def weight_bytes(self, layer: Layer) -> int:
        return 4 * (waves(layer["frame"]).size + elements(self._bands(layer).shape))

    def _bands(self, layer: Layer) -> np.ndarray:
        """The bands' weights of the squared cosines and of the squared sines: f32 (bands, 2 (frame // 2 + 1))."""
        mel = mel_bands(layer.out_shape[2], layer["frame"], layer["rate"])
        return np.concatenate([mel, mel], axis=1)

    def forward(
        self, layer: Layer, inputs: Sequence[torch.Tensor], params: Mapping[str, torch.Tensor], training: bool
    ) -> torch.Tensor:
        import torch

        frames = inputs[0].flatten(1).unfold(1, layer["frame"], layer["hop"])
        parts = frames @ torch.from_numpy(waves(layer["frame"])).to(frames).T
        power = parts**2 @ torch.from_numpy(self._bands(layer)).to(frames).T
        return (power + float(FLOOR)).log().unsqueeze(1)

    def reference(self, layer: Layer, inputs: Sequence[np.ndarray], tensors: Arrays) -> np.ndarray:
        line = inputs[0].reshape(len(inputs[0]), -1)
        frames = np.lib.stride_tricks.sliding_window_view(line, layer["frame"], axis=1)[:, :: layer["hop"]]
        power = (frames @ waves(layer["frame"]).T) ** 2 @ self._bands(layer).T
        result: np.ndarray = np.log(power + FLOOR)[:, None]
        return result

    def emit(self, layer: Layer, name: str, inputs: Sequence[str], tensors: Arrays, codes: Codes, graph: Graph) -> str:
        frame = layer["frame"]
        filters = graph.constant(f"{name}.waves", waves(frame)[:, None])
        mel = graph.constant(f"{name}.bands", self._bands(layer)[:, :, None])
        sizes = graph.constant(f"{name}.sizes", np.array([-1, 1, elements(layer.in_shape)], np.int64))
        line = graph.node("Reshape", [inputs[0], sizes], f"{name}.line")
        parts = graph.node("Conv", [line, filters], f"{name}.parts", kernel_shape=[frame], strides=[layer["hop"]])
        power = graph.node("Mul", [parts, parts], f"{name}.power")
        bands = graph.node("Conv", [power, mel], f"{name}.mel", kernel_shape=[1])
        floor = graph.node("Add", [bands, graph.constant(f"{name}.floor", np.asarray(FLOOR))], f"{name}.above")
        turned = graph.node("Transpose", [graph.node("Log", [floor], f"{name}.log")], f"{name}.turned", perm=[0, 2, 1])
        image = graph.constant(f"{name}.image", np.array([-1, *layer.out_shape], np.int64))
        return graph.node("Reshape", [turned, image], f"{name}.pixels")


primitive = LogMel()
