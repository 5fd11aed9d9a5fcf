"""Engine: `subject` is its class, in a file of its name; what it makes runs on a board, told of in plain values."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hwnas.boards import Board, Timed, board_of
from hwnas.device import load_device
from hwnas.engines import Artefact, Engine
from hwnas.measure.harness import Plan
from hwnas.network import Network, Operator
from hwnas.profile import DeviceProfile
from hwnas.testing import hold

QUICK = Plan(warmup_us=100.0, round_us=2_000.0, most_rounds=2)
CONV = Operator.of("conv_bn_act", (16, 8, 8), (16, 8, 8), kernel=3, stride=1, activation="relu")
SECOND = Operator.of("conv_bn_act", (16, 8, 8), (24, 8, 8), kernel=1, stride=1, activation="relu")
POOL = Operator.of("pool_dense", (24, 8, 8), (10,), classes=10)
NETWORK = Network.chain([("conv", CONV), ("wide", SECOND), ("head", POOL)])
HEAVY = ("onnxruntime", "tvm", "torch")
ASKS = """
import importlib, sys
sys.path[:] = {path!r}
engine = getattr(importlib.import_module({module!r}), {name!r})
assert engine.artefact_name("int8", "model.int8.onnx"), "it must name its artefact"
assert isinstance(engine.general, bool) and isinstance(engine.compiles, bool), "general and compiles must be bools"
loaded = sorted(set({heavy!r}) & set(sys.modules))
assert not loaded, f"it must import inside functions, loaded: {{loaded}}"
"""


def says_what_it_is_without_being_loaded(subject: type[Engine]) -> None:
    script = ASKS.format(path=sys.path, module=subject.__module__, name=subject.__qualname__, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    hold(done.returncode == 0, f"{subject.__module__}: {done.stderr.strip().rpartition(chr(10))[2]}")
    own = subject.artefact_name("int8", "model.onnx") != "model.onnx"
    hold(own == subject.compiles, "an artefact other than the model where it compiles, and only there")


def makes_what_is_told_in_json_and_timed_by_its_board(
    subject: type[Engine], device: DeviceProfile | None = None
) -> None:
    with _made(subject, device) as (engine, board, folder):
        (folder / "block").mkdir()
        built = [engine.block(CONV, folder / "block"), engine.network(NETWORK, 0, folder / "network")]
        built += filter(None, [engine.baseline(CONV, folder)])
        told = [Artefact(one.engine, Path(str(one.path)), json.loads(json.dumps(dict(one.options)))) for one in built]
        hold(told == built, "an artefact's options are plain JSON values")
        for outcome in board.time(told, QUICK):
            hold(isinstance(outcome, Timed) and outcome.timing.latency_us > 0, f"it is timed, got {outcome!r}")


def gives_blocks_that_share_a_baseline_one_of_one_path(
    subject: type[Engine], device: DeviceProfile | None = None
) -> None:
    with _made(subject, device) as (engine, _, folder):
        first, second = (engine.baseline(operator, folder) for operator in (CONV, SECOND))
        hold(first == second, f"blocks of one kind and input have one baseline, got {first} and {second}")


def prices_what_it_says_that_it_knows_exactly(subject: type[Engine], device: DeviceProfile | None = None) -> None:
    with _made(subject, device) as (engine, _, _):
        priced = engine.price(NETWORK, "host")
        hold(set(priced) == set(engine.exact), f"a price of each of {engine.exact}, got {sorted(priced)}")
        hold(all(type(v) is int and v > 0 for v in priced.values()), f"whole numbers above 0, got {priced}")
        least = max(engine.least_memory(operator, 3) for operator in NETWORK.operators)
        most = priced.get("peak_memory", least)
        hold(0 < least <= most, f"least_memory bounds peak_memory from below, got {least} and {most}")
        hold(engine.choices({}) == {}, "nothing is chosen where nothing was built")
        hold(all(isinstance(text, str) for text in engine.sources().values()), "sources are digests by name")


def builds_a_model_that_computes_what_onnx_runtime_computes(
    subject: type[Engine], device: DeviceProfile | None = None
) -> None:
    """In fp32, to rounding; an engine whose board is not real builds no model."""
    from hwnas.export.onnx import network_model
    from hwnas.testing.onnx_runtime import exact_session

    with _made(subject, device) as (engine, board, folder):
        if not board.real:
            return
        model = network_model(NETWORK, 3)
        images = np.random.default_rng(0).standard_normal((1, 16, 8, 8)).astype(np.float32)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        place = folder / engine.artefact_name("fp32", "model.onnx")
        artefact = engine.build(folder / "model.onnx", "host", place)
        hold(artefact.path == place, f"the artefact is at {place.name}, got {artefact.path}")
        expected = np.asarray(exact_session(model).run(None, {model.graph.input[0].name: images})[0])
        found = board.run(artefact, images).reshape(expected.shape)
        off, most = float(np.abs(found - expected).max()), 1e-4 * float(np.abs(expected).max())
        hold(off <= most, f"what ONNX Runtime computes, at most {most:.2g} off, got {off:.2g}")
        (timed,) = board.time([engine.built(artefact.path, NETWORK)], QUICK)
        hold(isinstance(timed, Timed), f"what was built before is timed, got {timed!r}")


@contextmanager
def _made(subject: type[Engine], device: DeviceProfile | None) -> Iterator[tuple[Engine, Board, Path]]:
    """The engine of a device (by default this machine), its board, and an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        profile = device or load_device("local")
        board = board_of(profile, Path(folder))
        hold(board is not None, f"device {profile.name} names a board")
        assert board is not None
        yield subject(profile, 1, None), board, Path(folder)
