"""`preprocess: inside` from the run file to the exported library, and the recipe where it stays outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwnas
from hwnas.cli.main import main
from hwnas.export.native import compile_onnx, load_native
from hwnas.export.native.emulate import missing_emulator, run_artifact
from hwnas.paths import read_json
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from tests.pipeline.runs import SETTINGS, run_file
from tests.pipeline.test_bad_input import refused

TRAIN = {**SETTINGS["train"], "epochs": 1}
TARGETS = [{"precision": p, "engine": "tvm"} for p in ("int8", "w1a1")]
# no resolution is the data's own 8 pixels, so every network resizes
SPACE = {**SETTINGS["space"], "resolutions": [6, 12]}


def finished(folder: Path, **changes: Any) -> Path:
    """The folder of a whole run on the null device."""
    assert main(["run", str(run_file(folder, train=TRAIN, space=SPACE, targets=TARGETS, **changes))]) == 0
    return folder / "runs" / "tiny"


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("inside"), preprocess="inside")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("outside"))


def expected(folder: Path, precision: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / f"expected.{precision}.npz") as held:
        return held["images"], held["expected"]


def test_the_file_takes_raw_bytes_of_the_datas_own_size(inside: Path) -> None:
    folder = inside / "export" / "int8-tvm"
    entry = read_json(folder / "manifest.json")["native-int8"]
    assert entry["input"] == {"shape": [1, 8, 8, 1], "type": "uint8", "layout": "NHWC"}
    assert entry["preprocess"]["where"] == "inside" and entry["preprocess"]["resize"] in ([6, 6], [12, 12])
    images, _ = expected(folder, "int8")
    assert images.dtype == np.uint8 and images.shape[1:] == (8, 8, 1) and images.max() == 16


def test_the_library_called_from_python_with_raw_bytes_equals_the_quantised_net(inside: Path) -> None:
    folder = inside / "export" / "int8-tvm"
    images, outputs = expected(folder, "int8")
    np.testing.assert_array_equal(load_native(folder / "native-int8")(images), outputs)


def test_a_one_bit_net_verifies_from_raw_bytes(inside: Path) -> None:
    entry = read_json(inside / "export" / "w1a1-tvm" / "manifest.json")["native-w1a1"]
    assert entry["verified"]["ok"] and entry["input"]["type"] == "uint8"


def test_one_file_alone_is_verified_on_its_raw_samples(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(inside / "export" / "int8-tvm" / "model.int8.onnx")]) == 0
    assert "bit-equal" in capsys.readouterr().out


def test_preprocessing_has_a_row_in_the_table_and_is_in_every_prediction(inside: Path) -> None:
    table = (inside.parents[1] / "tables" / "null" / "tvm-fp32.csv").read_text()
    rows = [line for line in table.splitlines() if line.startswith("preprocess,")]
    assert len(rows) == 2, "one a resolution"
    blocks = read_json(inside / "results.json")["targets"][0]["blocks"]
    assert blocks[0]["name"] == "preprocess" and blocks[0]["predicted_us"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("target", ["aarch64", "cortex-m4"])
def test_another_machine_gives_the_same_bits_from_raw_bytes(target: str, inside: Path, tmp_path: Path) -> None:
    if missing_emulator(target):
        pytest.skip(f"{missing_emulator(target)} is not installed")
    folder = inside / "export" / "int8-tvm"
    images, outputs = expected(folder, "int8")
    compile_onnx(folder / "model.int8.onnx", target, tmp_path / "native")
    np.testing.assert_array_equal(run_artifact(tmp_path / "native", images[:20]), outputs[:20])


def test_outside_the_manifests_recipe_makes_the_very_inputs_that_were_verified(outside: Path) -> None:
    folder = outside / "export" / "int8-tvm"
    entry = read_json(folder / "manifest.json")["native-int8"]
    images, _ = expected(folder, "int8")
    assert entry["input"] == {"shape": [1, *images.shape[1:]], "type": "float32", "layout": "NCHW"}
    assert entry["preprocess"]["image"]["values_seen"] == [0.0, 16.0]
    data = Job(read_run_file(outside.parents[1] / "tiny.yaml")).data
    ready = hwnas.preprocess(data.raw("test", slice(None)), entry)
    np.testing.assert_allclose(ready, images, atol=1e-5)
    assert read_json(folder / "native-int8" / "manifest.json")["preprocess"] == entry["preprocess"]
    assert "model_preprocess" in (folder / "native-int8" / "example.c").read_text()


def test_images_that_are_no_bytes_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", images=rng.random((60, 8, 8, 3)), labels=np.arange(60) % 3)
    path = run_file(tmp_path, preprocess="inside", data={"use": "npz", "path": str(tmp_path / "a.npz")})
    line = refused(capsys, "run", str(path))
    assert "preprocess: inside needs uint8 images" in line and "preprocess: outside" in line


def test_measuring_for_raw_images_needs_their_size_and_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts, nowhere = {"in_channels": 3, "classes": 5}, {"use": "npz", "path": "nowhere.npz"}
    path = run_file(tmp_path, preprocess="inside", data=nowhere, space={**SPACE, **facts})
    assert "preprocess: inside needs image_size" in refused(capsys, "measure", str(path))
    path = run_file(tmp_path, preprocess="inside", data=nowhere, space={**SPACE, **facts, "image_size": [8, 10]})
    assert main(["measure", str(path)]) == 0
    table = (tmp_path / "tables" / "null" / "onnxruntime-fp32.csv").read_text()
    assert table.count("\npreprocess,") == 2


def test_another_word_than_inside_or_outside_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "preprocess" in refused(capsys, "run", str(run_file(tmp_path, preprocess="both")))
