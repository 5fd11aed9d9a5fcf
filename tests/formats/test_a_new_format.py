"""A format is one file: a package outside hwnas adds one, and a run file measures, trains, searches, ships it."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from hwnas import find, formats, ops
from hwnas.cli.main import main
from hwnas.data import Raw, prepare
from hwnas.errors import HwnasError
from hwnas.export.onnx import to_onnx
from hwnas.export.quantise import calibrate, fold
from hwnas.formats import int8
from hwnas.methods.rule.plain import Plain
from hwnas.network import Network, Operator, require_precision
from hwnas.supernet import Net
from hwnas.tasks.classify import Classify
from hwnas.train import Schedule, evaluate, train
from tests.exact import exact_session
from tests.pipeline.runs import SETTINGS, run_file

# Ships as int8 codes that keep to 15 levels: a byte a weight, which every engine multiplies as it does int8.
INT4 = '''"""int4: weights of 15 levels a channel, kept in int8; activations and arithmetic as int8's."""

from dataclasses import replace

from hwnas.formats import int8

format = replace(int8.format, weight=int8.Symmetric(bits=4), bits=4, ends=("int8",), suffix="int4")
'''
# Stored as float16, multiplied as float32: another codec under float arithmetic, in a family of its own.
HALF = '''"""half: weights that float16 can hold."""

from dataclasses import replace

import numpy as np
import torch

from hwnas.formats import fp32
from hwnas.network import elements


class Half:
    def parameters(self, layer):
        return {}

    def train(self, x, params, progress=1.0):
        return x + (x.to(torch.float16).to(torch.float32) - x).detach()

    def encode(self, x, params, most_bits=8):
        return {"weight": x.astype(np.float16)}

    def decode(self, arrays, shape):
        return arrays["weight"].astype(np.float32)

    def stored_bytes(self, shape):
        return 2 * elements(shape)


format = replace(fp32.format, weight=Half(), bits=16, family="half", ends=("half",), suffix="half")
'''

# A learnt step a layer, relative to the largest weight of a channel, so that folding batch norm does not move it.
LEARNT = '''"""learnt: int8 weights whose step is trained."""

from dataclasses import replace

import numpy as np
import torch

from hwnas.formats import Parameter, int8


class Learnt:
    def parameters(self, layer):
        return {"reach": Parameter((1,), 0.75)}

    def train(self, x, params, progress=1.0):
        step = x.detach().abs().flatten(1).amax(1).reshape(-1, *[1] * (x.dim() - 1)) * params["reach"] / 127
        code = (x / step).clamp(-127, 127)
        return (code + (code.round() - code).detach()) * step

    def encode(self, x, params, most_bits=8):
        largest = np.abs(x.reshape(len(x), -1)).max(1)
        step = (largest * params["reach"] / np.float32(127)).astype(np.float32)
        across = step.reshape(-1, *[1] * (x.ndim - 1))
        return {"weight": np.rint(np.clip(x / across, -127, 127)).astype(np.int8), "weight_scale": step}

    def decode(self, arrays, shape):
        return int8.format.weight.decode(arrays, shape)

    def stored_bytes(self, shape):
        return int8.format.weight.stored_bytes(shape)


format = replace(int8.format, weight=Learnt(), suffix="learnt")
'''

# Hardens while it is trained: at progress p a weight is p of its int8 code and 1 - p of itself.
HARDENING = '''"""hardening: int8 weights, more of them the further the training is."""

from dataclasses import replace

from hwnas.formats import int8

SEEN = []


class Hardening(int8.Symmetric):
    def train(self, x, params, progress=1.0):
        SEEN.append(progress)
        return progress * super().train(x, params) + (1 - progress) * x


class Watched(int8.Affine):
    def train(self, x, params, progress=1.0):
        SEEN.append(progress)
        return super().train(x, params)


format = replace(int8.format, weight=Hardening(), activation=Watched(), suffix="hardening")
'''


@pytest.fixture
def package(outside: Path) -> Iterator[Path]:
    """A package outside hwnas with the formats int4, half, learnt and hardening."""
    (outside / "formats").mkdir()
    (outside / "formats" / "int4.py").write_text(INT4)
    (outside / "formats" / "half.py").write_text(HALF)
    (outside / "formats" / "learnt.py").write_text(LEARNT)
    (outside / "formats" / "hardening.py").write_text(HARDENING)
    yield outside
    for remembered in (formats.of, require_precision):
        remembered.cache_clear()


def rows(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()[1:]))


def codes_of(model: onnx.ModelProto, name: str) -> np.ndarray:
    found = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    return found[f"{name}.weight"]


@pytest.mark.slow
def test_a_run_file_measures_trains_searches_ships_and_verifies_a_format_from_outside(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(find.ENVIRONMENT)  # the run file itself says where the format is
    space = {**SETTINGS["space"], "precisions": ["fp32", "int8", "int4"]}
    targets = [{"precision": "int4", "engine": engine} for engine in ("onnxruntime", "tvm")]
    path = run_file(tmp_path, space=space, targets=targets, plugins=[package.name])
    assert main(["run", str(path)]) == 0
    measured = rows(tmp_path / "tables" / "null" / "onnxruntime-int4.csv")
    assert {row["kind"] for row in measured} == {"bireal"} and all(row["status"] == "ok" for row in measured)
    out = tmp_path / "runs" / "tiny"
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    for target in results["targets"]:
        winner = next(row for row in target["rows"] if row["role"] == "winner")
        assert winner["precision"] == "int4" and winner["verified"], winner
        folder = out / "export" / f"int4-{target['engine']}"
        model = onnx.load(folder / "model.int4.onnx")
        inside, stem = codes_of(model, "s0.b0.conv"), codes_of(model, "stem.conv")
        assert inside.dtype == stem.dtype == np.int8
        assert np.abs(inside).max() == 7 and np.abs(stem).max() > 7  # the stem is int8: a network's ends cannot be int4
        assert (folder / "native-int4").is_dir() == (target["engine"] == "tvm")
    assert main(["verify", str(path)]) == 0
    assert main(["report", str(out)]) == 0


def test_a_format_of_known_arithmetic_is_charged_as_its_kin_on_the_null_device(package: Path) -> None:
    from hwnas.device import load_device
    from hwnas.engines.null import Engine as NullEngine

    device = NullEngine(load_device("null"))
    known, new = (
        device.block(Operator.of("bireal", (8, 8, 8), (16, 8, 8), precision, kernel=3, stride=1), Path())
        for precision in ("int8", "int4")
    )
    assert new == known


def test_a_float_format_ships_in_the_type_that_it_stores(package: Path) -> None:
    operator = Operator.of("conv_bn_act", (3, 8, 8), (8, 8, 8), "half", kernel=3, stride=1, activation="relu")
    network = Network.chain([("conv", operator)])
    ready = calibrate(fold(network, Net(network, seed=3).arrays()), np.zeros((1, 3, 8, 8), np.float32))
    model = to_onnx(ready)
    weight, bias = (numpy_helper.to_array(one) for one in model.graph.initializer)
    assert weight.dtype == np.float16 and weight.nbytes + bias.nbytes == ops.weight_bytes(operator)
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    (found,) = exact_session(model).run(None, {"input": x})
    np.testing.assert_allclose(found, ready(x), rtol=1e-4, atol=1e-5)  # float32 sums of 27 terms
    assert formats.names() == ("fp32", "half", "hardening", "int8", "learnt", "int4", "w1a1")


def test_what_a_codec_learns_is_trained_folded_and_shipped(package: Path) -> None:
    operator = Operator.of("conv_bn_act", (3, 8, 8), (8, 8, 8), "learnt", kernel=3, stride=1, activation="relu")
    values = ops.initial(operator, torch.Generator().manual_seed(0))
    values["conv.reach"].requires_grad_()
    ops.forward(operator, [torch.ones(2, 3, 8, 8)], values, True).square().sum().backward()
    assert values["conv.reach"].grad is not None and float(values["conv.reach"].grad.abs()) > 0
    enter = Operator.of("convert", (3, 8, 8), (3, 8, 8), "learnt")
    network = Network.chain([("enter", enter), ("block", operator)])
    folded = fold(network, {**Net(network, seed=3).arrays(), "block.conv.reach": np.array([0.5], np.float32)})
    ready = calibrate(folded, np.random.default_rng(0).standard_normal((8, 3, 8, 8), dtype=np.float32))
    weight, shipped = folded.tensors["block.conv"]["weight"], ready.tensors["block.conv"]
    largest = np.abs(weight).reshape(8, -1).max(axis=1)
    np.testing.assert_allclose(shipped["weight_scale"], largest * 0.5 / 127, rtol=1e-6)
    assert np.abs(shipped["weight"]).max() == 127 and set(shipped) == {"weight", "weight_scale", "bias"}


def hardening_net() -> tuple[Network, Net, Any]:
    """A block of the format `hardening` between conversions, its net, and noise to train it on."""
    block = Operator.of("conv_bn_act", (1, 4, 4), (4, 4, 4), "hardening", kernel=3, stride=1, activation="relu")
    enter = Operator.of("convert", (1, 4, 4), (1, 4, 4), "hardening")
    head = Operator.of("pool_dense", (4, 4, 4), (2,), "hardening", classes=2)
    network = Network.chain([("enter", enter), ("block", block), ("head", head)])
    images = np.random.default_rng(0).standard_normal((60, 1, 4, 4)).astype(np.float32)
    return network, Net(network, 3), prepare(Raw("noise", images, np.arange(60) % 2, ("0", "1")))


def seen(found: list[float]) -> list[float]:
    """What the codecs were told since the last call, repetitions left out."""
    told = list(dict.fromkeys(found))
    found.clear()
    return told


def test_codecs_are_told_how_far_the_training_is_and_1_where_nothing_is_trained(package: Path) -> None:
    _, net, data = hardening_net()
    told: list[float] = find.load("formats", "hardening").SEEN
    net.eval()(torch.zeros(2, 1, 4, 4))
    assert seen(told) == [1.0]
    steps: list[int] = []
    train(
        net, Plain(Classify()), data, Schedule(2, 16, warmup=0), workers=0,
        progress=lambda done, total, note: steps.append(total),
    )  # fmt: skip
    assert len(steps) > 2 and seen(told) == [i / len(steps) for i in range(len(steps))]
    evaluate(net, data, "validation")
    assert seen(told) == [1.0]


def test_a_net_that_is_judged_or_run_by_another_thread_within_a_step_is_not_in_training(package: Path) -> None:
    _, net, _ = hardening_net()
    told, images = find.load("formats", "hardening").SEEN, torch.zeros(2, 1, 4, 4)
    told.clear()
    with formats.at_progress(0.25):
        net.train()(images)
        assert seen(told) == [0.25]
        other = threading.Thread(target=net, args=(images,))
        other.start()
        other.join()
        assert seen(told) == [1.0], "another thread trains nothing"
        net.eval()(images)
        assert seen(told) == [1.0] and formats.training_progress() == 0.25
    with pytest.raises(ZeroDivisionError), formats.at_progress(0.5):
        raise ZeroDivisionError
    assert formats.training_progress() == 1.0


def test_what_ships_of_a_hardening_format_is_what_training_ends_with(package: Path) -> None:
    network, net, _ = hardening_net()
    x = np.random.default_rng(1).standard_normal((8, 1, 4, 4), dtype=np.float32)
    with torch.no_grad():
        soft, harder = (_at(progress, net, torch.from_numpy(x)) for progress in (0.0, 0.5))
        hard = net.train()(torch.from_numpy(x))
    assert not torch.equal(soft, harder) and not torch.equal(harder, hard)
    shipped = fold(network, Net(network, seed=3).arrays())
    codec, weight = formats.of("hardening").weight, shipped.tensors["block.conv"]["weight"]
    kept = codec.decode(codec.encode(weight, {}), weight.shape)
    np.testing.assert_array_equal(codec.train(torch.from_numpy(weight), {}).numpy(), kept)
    assert np.abs(codec.train(torch.from_numpy(weight), {}, 0.0).numpy() - kept).max() > 0


def _at(progress: float, net: Net, x: torch.Tensor) -> torch.Tensor:
    with formats.at_progress(progress):
        found: torch.Tensor = net.train()(x)
    return found


def test_a_codec_that_cannot_be_told_the_progress_is_refused_before_anything_trains() -> None:
    class Old(int8.Symmetric):
        def train(self, x: Any, params: Any) -> Any:  # type: ignore[override]
            return x

    with pytest.raises(HwnasError, match=r"codec Old must take \(x, params, progress\)"):
        replace(int8.format, weight=Old())


def test_a_format_that_is_not_there_names_the_nearest_in_a_run_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(tmp_path, targets=[{"precision": "int4", "engine": "onnxruntime"}])
    assert main(["measure", str(path)]) == 2
    said = capsys.readouterr().err
    assert "targets.0.precision: must be one of fp32, int8, w1a1, mixed; nearest: int8, got 'int4'" in said


def test_a_file_that_defines_no_format_says_so(package: Path) -> None:
    (package / "formats" / "odd.py").write_text('"""odd: nothing."""\nformat = 3\n')
    with pytest.raises(HwnasError, match="format must be a Format, got int"):
        formats.of("odd")
