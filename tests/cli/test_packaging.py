"""The wheel is complete and works away from the checkout; the core measures and benches without any extra."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import onnx
import pytest

from hwnas.export.onnx import block_model
from hwnas.extras import EXTRAS
from hwnas.network import Operator

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_wheel_works_away_from_the_checkout(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(REPOSITORY / "hwnas", source / "hwnas", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("hwnas-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    top = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"hwnas"}, "PyPI has a `kernels` of its own: everything of ours lies under hwnas"
    shipped = [file.relative_to(source) for file in (source / "hwnas").rglob("*") if file.is_file()]
    missing = [str(file) for file in shipped if not (site / file).exists()]
    assert not missing, f"package data in pyproject.toml misses {missing}"
    listed = subprocess.run(
        [sys.executable, "-c", "from hwnas.cli.main import entry; entry()", "devices", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
    )
    assert "raspberry-pi-5" in {device["name"] for device in json.loads(listed.stdout)}


BLOCKED = """
import sys
for name in sys.argv[1].split():
    sys.modules[name] = None
from hwnas.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
RUN_FILE = """
name: tiny
device: {device}
tables: {folder}/tables
out: {folder}/runs
space: {{use: resnet_binary, in_channels: 1, classes: 10, resolutions: [8], stem_width: 8, widths: [[8, 16]],
        depths: [1, 2], strides: [1], precisions: [fp32, int8]}}
limits: {{latency_ms: 100}}
targets: [{{precision: int8, engine: {engine}}}]
card: {{fit: 5, test: 5}}
"""


def without_extras(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`hwnas <arguments>` where no package of an extra can be imported."""
    command = [sys.executable, "-c", BLOCKED, " ".join(EXTRAS), *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


def run_file(folder: Path, device: str, engine: str) -> str:
    path = folder / "run.yaml"
    path.write_text(RUN_FILE.format(folder=folder, device=device, engine=engine))
    return str(path)


@pytest.mark.parametrize("device", ["null", "local"])
def test_measuring_needs_neither_an_extra_nor_a_data_set(tmp_path: Path, device: str) -> None:
    done = without_extras(tmp_path, "measure", run_file(tmp_path, f'"{device}"', "onnxruntime"), "--json")
    assert done.returncode == 0, done.stderr
    assert [line["failed"] for line in json.loads(done.stdout)["lines"]] == [0, 0]


def test_benching_needs_no_extra_and_says_which_one_another_engine_needs(tmp_path: Path) -> None:
    block = Operator.of("conv_bn_act", (3, 8, 8), (8, 8, 8), kernel=3, stride=1, activation="relu")
    onnx.save(block_model(block), tmp_path / "block.onnx")
    done = without_extras(tmp_path, "bench", "block.onnx", "--json", "--layers")
    assert done.returncode == 0, done.stderr
    ran, refused = json.loads(done.stdout)["engines"]
    assert ran["samples"] >= 60 and ran["layers"] and not ran["reason"]
    assert refused["reason"] == "this needs tvm, which is not installed; hint: pip install 'hwnas[compile]'"


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["measure", "{tvm}"], "compile"),
        (["train", "{run}"], "train"),
        (["export", "block.onnx", "--format", "native", "--out", "made"], "compile"),
    ],
)
def test_a_missing_package_is_one_line_with_its_extra(tmp_path: Path, arguments: list[str], extra: str) -> None:
    block = Operator.of("conv_bn_act", (3, 8, 8), (8, 8, 8), kernel=3, stride=1, activation="relu")
    onnx.save(block_model(block), tmp_path / "block.onnx")
    engine = "tvm" if "{tvm}" in arguments else "onnxruntime"
    path = run_file(tmp_path, "local", engine)
    done = without_extras(tmp_path, *(text.format(tvm=path, run=path) for text in arguments))
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and f"pip install 'hwnas[{extra}]'" in last


def test_every_extra_that_a_message_names_is_one_and_brings_the_package() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    spelt = {"torch": "torch", "sklearn": "scikit-learn", "PIL": "pillow", "tvm": "apache-tvm"}
    for module, extra in EXTRAS.items():
        names = {re.split(r"[<>=]", requirement)[0] for requirement in extras[extra]}
        assert spelt.get(module, module).replace("tvm_ffi", "apache-tvm-ffi") in names
