"""Models that take raw uint8 pixels, and what a user is told where preprocessing stays outside."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch.nn.functional import interpolate

import hwnas
from hwnas.errors import HwnasError
from hwnas.export.native import compile_onnx, load_native
from hwnas.export.native.emulate import missing_emulator, run_artifact
from hwnas.export.native.fallback import keep_for_onnxruntime
from hwnas.export.onnx import save, to_onnx
from hwnas.export.quantise import FoldedNet, QuantisedNet, calibrate, places, random_net
from hwnas.export.recipe import METADATA, Recipe, recipe_from, record_of, with_record
from hwnas.export.verify import EXACT, verify
from hwnas.network import Network, Node, Operator
from hwnas.ops import primitive_of
from hwnas.ops.numeric import resample

SIZES = ((8, 8, 8, 8), (24, 20, 16, 16), (8, 6, 16, 12), (30, 30, 30, 7))
RECIPE = Recipe((12, 10), (120.5, 99.25, 130.0), (58.0, 61.5, 33.3), (20, 31), (0, 255))


def raw_net(height: int, width: int, high: int, wide: int, precision: str = "int8", channels: int = 3) -> QuantisedNet:
    """Raw pixels, a strided convolution, a classifier of ten."""
    image, inner = (channels, high, wide), (8, -(-high // 2), -(-wide // 2))
    nodes = [Node("preprocess", Operator.of("preprocess", (height, width, channels), image))]
    if precision == "int8":
        nodes.append(Node("input", Operator.of("convert", image, image, "int8")))
    stem = Operator.of("conv_bn_act", image, inner, precision, kernel=3, stride=2, activation="relu")
    nodes += [Node("stem", stem), Node("head", Operator.of("pool_dense", inner, (10,), precision, classes=10))]
    if precision == "int8":
        nodes.append(Node("output", Operator.of("convert", (10,), (10,), "fp32")))
    network, rng = Network.chain(nodes), np.random.default_rng(1)
    tensors = {p.name: primitive_of(p.layer.kind).random(p.layer, rng) for p in places(network)}
    # 7-bit weights: ONNX Runtime's sums saturate with 8 where a machine has no VNNI
    return calibrate(FoldedNet(network, tensors), random_pixels(network, 32), weight_bits=7)


def random_pixels(network: Network, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.choice(np.array([0, 255, *range(256)], np.uint8), (count, *network.input_shape))


def pixels(net: QuantisedNet) -> np.ndarray:
    return random_pixels(net.network, 8)


@pytest.mark.parametrize(("size", "result"), [(8, 8), (8, 5), (224, 32), (37, 11), (11, 37), (1, 3), (3, 1), (640, 7)])
def test_the_weights_of_a_resize_are_torchs(size: int, result: int) -> None:
    eye = torch.eye(size, dtype=torch.float64)[None, None]
    expected = interpolate(eye, (result, size), mode="bilinear", antialias=True, align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(resample.real_weights(size, result), expected, atol=1e-12)
    taps = resample.taps(size, result)
    assert (taps.weights.sum(axis=1) == resample.ONE).all() and taps.weights.min() >= 0
    np.testing.assert_allclose(taps.matrix() / resample.ONE, expected, atol=1e-6)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_raw_image_gives_what_training_saw(size: tuple[int, int, int, int]) -> None:
    height, width, high, wide = size
    network = Network.chain([Node("p", Operator.of("preprocess", (height, width, 3), (3, high, wide)))])
    net = random_net(network, 2)
    raw = pixels(net)
    mean, factor = (torch.from_numpy(net.tensors["p.pixels"][key])[:, None, None] for key in ("mean", "factor"))
    planes = (torch.from_numpy(raw).permute(0, 3, 1, 2).float() - mean) * factor
    expected = interpolate(planes, (high, wide), mode="bilinear", antialias=True, align_corners=False).numpy()
    np.testing.assert_allclose(net(raw), expected, atol=2e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_int8_net_over_raw_bytes_is_bit_equal_in_every_engine(
    size: tuple[int, int, int, int], tmp_path: Path
) -> None:
    net = raw_net(*size)
    images, path = pixels(net), tmp_path / "model.onnx"
    save(to_onnx(net), path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    compile_onnx(path, "host", tmp_path / "native")
    expected = net(images)
    for artefact in (path, tmp_path / "native"):
        result = verify(artefact, images, None, expected, EXACT)
        assert result.ok, result
    np.testing.assert_array_equal(load_native(tmp_path / "native")(images), expected)
    keep_for_onnxruntime(path, tmp_path / "kept", HwnasError("asked for"))
    np.testing.assert_array_equal(load_native(tmp_path / "kept")(images), expected)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["aarch64", "cortex-m4", "wasm32-simd128"])
def test_raw_bytes_give_the_same_bits_on_other_machines(target: str, tmp_path: Path) -> None:
    if missing_emulator(target):
        pytest.skip(f"{missing_emulator(target)} is not installed")
    net = raw_net(24, 20, 16, 16)
    images = pixels(net)
    compile_onnx(to_onnx(net), target, tmp_path / "native")
    np.testing.assert_array_equal(run_artifact(tmp_path / "native", images), net(images))


def test_manifest_header_and_bench_speak_of_bytes(tmp_path: Path) -> None:
    net = raw_net(24, 20, 16, 16)
    artefact = compile_onnx(to_onnx(net), "host", tmp_path / "native")
    assert artefact.manifest["input"] == {"shape": [1, 24, 20, 3], "type": "uint8"}
    assert artefact.manifest["preprocess"] == {"where": "inside"}
    assert f"MODEL_INPUT_BYTES {24 * 20 * 3} " in artefact.file("model.h").read_text()
    timed = subprocess.run([artefact.file("bench"), "3", "1"], capture_output=True, text=True, check=True)
    assert len(json.loads(timed.stdout)["samples"]) == 3


def test_normalised_images_are_refused_by_a_model_that_takes_raw_ones(tmp_path: Path) -> None:
    net = raw_net(8, 8, 8, 8)
    compile_onnx(to_onnx(net), "host", tmp_path / "native")
    with pytest.raises(HwnasError, match="takes raw uint8 pixels"):
        load_native(tmp_path / "native")(pixels(net).astype(np.float32))


def test_a_uint8_input_that_nothing_preprocesses_is_refused() -> None:
    from hwnas.export.native.graph import read_graph

    model = to_onnx(raw_net(8, 8, 8, 8))
    model.graph.node[0].op_type = "Identity"
    with pytest.raises(HwnasError):
        read_graph(model)


def _tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == f"preprocess.pixels.{name}")


def _change(name: str, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[onnx.ModelProto], None]:
    """A mutation of one constant of the preprocessing node."""

    def mutate(model: onnx.ModelProto) -> None:
        tensor = _tensor(model, name)
        tensor.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(tensor).copy()), tensor.name))

    return mutate


def _float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def _second_reader(model: onnx.ModelProto) -> None:
    twin = onnx.NodeProto()
    twin.CopyFrom(model.graph.node[0])
    twin.output[0] = "twin"
    model.graph.node.insert(1, twin)
    model.graph.node[2].input[0] = "twin"
    model.graph.node.append(helper.make_node("Add", ["output", "preprocess.pixels.pixels"], ["sum"]))
    model.graph.output[0].name = "sum"


def _one_constant_less(model: onnx.ModelProto) -> None:
    model.graph.node[0].input.pop()


@pytest.mark.parametrize(
    "mutate",
    [
        _change("rows_first", lambda a: a + 30),
        _change("rows_first", lambda a: a - 5),
        _change("rows_first", lambda a: a.astype(np.float32)),
        _change("rows_first", lambda a: a[:-1]),
        _change("columns_weights", lambda a: -a),
        _change("columns_weights", lambda a: a * 2),
        _change("columns_weights", lambda a: a[None]),
        _change("mean", lambda a: a[:2]),
        _change("factor", lambda a: a * np.float32("nan")),
        _float_input,
        _second_reader,
        _one_constant_less,
    ],
)
def test_a_preprocessing_node_that_would_read_or_compute_wrongly_is_refused(
    mutate: Callable[[onnx.ModelProto], None], tmp_path: Path
) -> None:
    model = to_onnx(raw_net(24, 20, 16, 16))
    mutate(model)
    with pytest.raises(HwnasError):
        compile_onnx(model, "host", tmp_path / "native")


def compiled(folder: Path, source: str, *more: str) -> Path:
    """A C program linked with the model's library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (folder / "driver.c").write_text(source)
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "driver.c", "libmodel.a", "-o", "driver", *more], cwd=folder,
                   check=True)  # fmt: skip
    return folder / "driver"


def numbers(program: Path, given: bytes = b"") -> np.ndarray:
    done = subprocess.run([program], input=given, capture_output=True, check=True)
    return np.array([float(line) for line in done.stdout.split()], np.float32)


def pattern(*shape: int) -> np.ndarray:
    """The image that example.c makes."""
    count = int(np.prod(shape))
    return (np.arange(count) * 37 % 256).astype(np.uint8).reshape(1, *shape)


def test_example_c_runs_on_raw_bytes(tmp_path: Path) -> None:
    net = raw_net(24, 20, 16, 16)
    artefact = compile_onnx(to_onnx(net), "host", tmp_path / "native")
    printed = numbers(compiled(artefact.folder, artefact.file("example.c").read_text()))
    np.testing.assert_allclose(printed, net(pattern(24, 20, 3))[0], rtol=1e-5)


def float_net() -> QuantisedNet:
    """A net of normalised images at the recipe's size."""
    inner = Operator.of("conv_bn_act", (3, 12, 10), (8, 6, 5), kernel=3, stride=2, activation="relu")
    nodes = (Node("stem", inner), Node("head", Operator.of("pool_dense", (8, 6, 5), (10,), classes=10)))
    return random_net(Network.chain(nodes), 1)


def test_outside_example_c_and_python_follow_the_recipe_that_training_did(tmp_path: Path) -> None:
    model = with_record(to_onnx(float_net()), RECIPE.record())
    onnx.checker.check_model(model, full_check=True)
    artefact = compile_onnx(model, "host", tmp_path / "native")
    entry = artefact.manifest
    assert recipe_from(entry) == RECIPE
    image = pattern(20, 31, 3)
    ready = hwnas.preprocess(image, entry)
    printed = numbers(compiled(artefact.folder, artefact.file("example.c").read_text()))
    np.testing.assert_allclose(printed, load_native(artefact.folder)(ready)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(20, 31), (12, 10), (5, 4), (1, 1), (97, 40)], ids=str)
def test_the_reference_functions_equal_torch(size: tuple[int, int], tmp_path: Path) -> None:
    height, width = size
    artefact = compile_onnx(with_record(to_onnx(float_net()), RECIPE.record()), "host", tmp_path / "native")
    raw = np.random.default_rng(3).integers(0, 256, (1, height, width, 3)).astype(np.uint8)
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (RECIPE.mean, RECIPE.std))
    planes = (torch.from_numpy(raw).permute(0, 3, 1, 2).double() - mean) / std
    expected = interpolate(planes, RECIPE.size, mode="bilinear", antialias=True, align_corners=False).numpy()
    ready = hwnas.preprocess(raw, artefact.manifest)
    assert ready.dtype == np.float32 and ready.shape == (1, 3, 12, 10)
    np.testing.assert_allclose(ready, expected, atol=1e-5)
    driver = f"""#define main example
#include "example.c"
#undef main
int main(void)
{{
    static unsigned char image[{raw.size}];
    static float result[360];
    (void)example;
    if (fread(image, 1, sizeof image, stdin) != sizeof image)
        return 1;
    model_preprocess(image, {height}, {width}, result);
    for (int i = 0; i < 360; ++i)
        printf("%.9g\\n", (double)result[i]);
    return 0;
}}
"""
    got = numbers(compiled(artefact.folder, driver), raw.tobytes())
    np.testing.assert_allclose(got, expected.reshape(-1), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.pop("resize"), "not a preprocessing recipe"),
        (lambda r: r["normalise"].update(std=[1.0, 0.0, 1.0]), "deviations above 0"),
        (lambda r: r["normalise"].update(mean=[float("inf")] * 3), "not|needs"),
        (lambda r: r["resize"].update(height="tall"), "not a preprocessing recipe"),
        (lambda r: r.update(order=["normalise"]), "in the order"),
        (lambda r: r["image"].update(type="int; system()"), "pixels must be"),
        (lambda r: r["input"].update(shape=[1, 3, 9, 9]), "ignored"),
    ],
)
def test_metadata_that_are_no_recipe_are_refused_in_one_line(change: object, told: str, tmp_path: Path) -> None:
    record = json.loads(json.dumps(RECIPE.record()))
    change(record)  # type: ignore[operator]
    model = with_record(to_onnx(float_net()), record)
    if told == "ignored":  # what follows from the rest is computed, never believed
        assert record_of(model) == RECIPE.record()
        return
    with pytest.raises(HwnasError, match=told):
        compile_onnx(model, "host", tmp_path / "native")


def test_metadata_that_describe_another_input_are_refused(tmp_path: Path) -> None:
    other = Recipe((7, 7), RECIPE.mean, RECIPE.std, (8, 8), (0, 255))
    model = with_record(to_onnx(float_net()), other.record())
    with pytest.raises(HwnasError, match="metadata describe an input"):
        compile_onnx(model, "host", tmp_path / "native")
    model.metadata_props[0].value = "{"
    assert model.metadata_props[0].key == METADATA
    with pytest.raises(HwnasError, match="not JSON"):
        compile_onnx(model, "host", tmp_path / "native")


@pytest.mark.parametrize("shape", [(1, 8, 8, 1), (8, 8), (1, 0, 8, 3)], ids=str)
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(HwnasError, match="images must be"):
        hwnas.preprocess(np.zeros(shape, np.uint8), RECIPE.record())


def test_a_model_with_preprocessing_inside_needs_no_recipe() -> None:
    with pytest.raises(HwnasError, match="takes raw images"):
        hwnas.preprocess(np.zeros((1, 8, 8, 3), np.uint8), {"preprocess": {"where": "inside"}})
