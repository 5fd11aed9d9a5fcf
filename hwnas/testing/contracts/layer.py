"""Layer kind: `subject` is a Layer, an example of the kind; torch, numpy and ONNX Runtime compute the same of it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np

from hwnas.network import Layer, defined
from hwnas.ops import primitive_of
from hwnas.ops.numeric.scales import Scale
from hwnas.ops.primitive import Codes, is_integer
from hwnas.testing import hold
from hwnas.testing.onnx_runtime import lowered

EXAMPLES, SEEDS = 16, 4
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # float32 sums of a few hundred terms in another order
HEAVY = {"torch", "onnx", "onnxruntime", "tvm"}


def loads_nothing_heavy_at_its_top(subject: Layer) -> None:
    """Tables are read and networks priced where neither torch nor ONNX is installed."""
    module = __import__(type(defined(subject.kind, "ops", "primitive")).__module__, fromlist=["_"])
    for node in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            heavy = {name.split(".")[0] for name in named} & HEAVY
            hold(not heavy, f"{module.__name__} imports {', '.join(heavy)} inside the functions that need it")


def computes_in_torch_what_the_folded_layer_is(subject: Layer) -> None:
    """Training and what ships agree: the torch forward in evaluation is the numpy reference of the folded layer."""
    import torch

    if is_integer(subject):
        return  # there they differ by rounding; the float form of the same kind is held to this
    primitive, generator = primitive_of(subject.kind), torch.Generator().manual_seed(0)
    shapes = {**primitive.parameters(subject), **primitive.buffers(subject)}
    params = {name: primitive.initial(subject, name, shape, generator) for name, shape in shapes.items()}
    for name, value in params.items():
        shape = tuple(value.shape)
        hold(shape == shapes[name], f"initial {name} has its shape {shapes[name]}, got {shape}")
        params[name] = value + torch.rand(value.shape, generator=generator) * 0.2
    inputs = [torch.randn((3, *shape), generator=generator) for shape in subject.in_shapes]
    if below := primitive.below(subject):
        inputs[0] = torch.randint(below, inputs[0].shape, generator=generator)
    expected = primitive.forward(subject, inputs, params, False).numpy()
    folded = primitive.fold(subject, {name: value.numpy() for name, value in params.items()})
    found = primitive.reference(subject, [x.numpy() for x in inputs], folded)
    hold(found.dtype == np.float32, f"reference gives float32, got {found.dtype}")
    hold(found.shape == (3, *subject.out_shape), f"reference gives (n, *{subject.out_shape}), got {found.shape}")
    _alike(found, expected, "the torch forward and the numpy reference of the folded layer")


def exports_what_the_reference_computes(subject: Layer) -> None:
    if is_integer(subject):
        return
    rng, primitive = np.random.default_rng(1), primitive_of(subject.kind)
    tensors = primitive.random(subject, rng)
    inputs: list[np.ndarray] = [rng.standard_normal((2, *s)).astype(np.float32) for s in subject.in_shapes]
    if below := primitive.below(subject):
        inputs[0] = rng.integers(0, below, inputs[0].shape)
    expected = primitive.reference(subject, inputs, tensors)
    _alike(lowered(subject, inputs, tensors, Codes((None,) * len(inputs), None), expected), expected, "ONNX and numpy")


def is_bit_equal_to_onnx_runtime_in_integers(subject: Layer) -> None:
    """Only for an integer layer: its codes are those of ONNX Runtime's integer kernels, whatever scales are met."""
    if not is_integer(subject):
        return
    primitive = primitive_of(subject.kind)
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        inputs = [rng.integers(0, 256, (EXAMPLES, *shape)).astype(np.uint8) for shape in subject.in_shapes]
        scales = tuple(Scale(float(np.float32(rng.uniform(0.01, 0.05))), int(rng.integers(0, 256))) for _ in inputs)
        low = 0.0 if subject.activation == "relu" else -2.0
        codes = Codes(scales, primitive.output_code(subject, scales, low, float(rng.uniform(1.0, 4.0))))
        tensors = primitive.quantise(subject, primitive.random(subject, rng), codes, 8)
        expected = primitive.reference_int8(subject, inputs, tensors, codes)
        hold(expected.dtype == np.uint8, f"the integer reference gives uint8 codes, got {expected.dtype}")
        found = lowered(subject, inputs, tensors, codes, expected)
        off = int((found != expected).sum())
        hold(not off, f"{off} of {found.size} codes differ from ONNX Runtime's (seed {seed})")


def _alike(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    off = float(np.abs(found - expected).max(initial=0.0))
    alike = found.shape == expected.shape and np.allclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE)
    hold(alike, f"{what} agree, but are {found.shape} and {expected.shape}, apart by at most {off:.3g}")
