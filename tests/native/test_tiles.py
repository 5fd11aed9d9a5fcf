"""The tile table: candidates are timed once, the choice is kept, and any choice gives the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from hwnas.card import locked
from hwnas.errors import HwnasError
from hwnas.export.native import compile_onnx, load_native, tiles
from hwnas.export.native.lower import Candidate
from hwnas.export.native.tiles import TileTable
from hwnas.kernels.target import Target
from tests.native import nets


def test_tiles_are_timed_once_and_the_choice_is_kept(tmp_path: Path, kernel_cache: Path) -> None:
    model = nets.int8_net(12, 8)
    compile_onnx(model, "host", tmp_path / "timed", cache=kernel_cache, tiles=tmp_path / "tiles.json")
    stored = json.loads((tmp_path / "tiles.json").read_text())["choices"]["host"]
    assert stored and all(len(entry["ns"]) > 1 and min(entry["ns"]) > 0 for entry in stored.values())
    again = TileTable(tmp_path / "tiles.json", "host", time_missing=False)
    made = compile_onnx(model, "host", tmp_path / "again", cache=kernel_cache, choose_tile=again.choose)
    assert {entry["tile"] for entry in stored.values()} <= {step["kernel"] for step in made.manifest["steps"]}
    batch = nets.images(model, 4)
    for folder in ("timed", "again"):
        assert np.array_equal(load_native(tmp_path / folder)(batch), nets.run_onnx(model, batch))


@pytest.mark.parametrize("position", [1, 2, 3])
def test_every_tile_gives_the_same_bits(position: int, tmp_path: Path, kernel_cache: Path) -> None:
    def choose(candidate: Candidate) -> int:
        return min(position, len(candidate.symbols) - 1)

    for net in (nets.int8_net, nets.binary_stream_net):
        model = net()
        batch = nets.images(model, 4)
        compile_onnx(model, "host", tmp_path / net.__name__, cache=kernel_cache, choose_tile=choose)
        assert np.array_equal(load_native(tmp_path / net.__name__)(batch), nets.run_onnx(model, batch))


@pytest.mark.parametrize(
    "text",
    [
        "{", "", "[]", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "choices": []}', "[" * 100_000,
        '{"schema": 1, "choices": {"host": []}}', '{"schema": 1, "choices": {"host": {"k": {"tile": 1}}}}',
    ],
)  # fmt: skip
def test_a_broken_tile_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tiles.json").write_text(text)
    with pytest.raises(HwnasError, match=r"is not a tile table|choices must give"):
        TileTable(tmp_path / "tiles.json", "host")
    assert (tmp_path / "tiles.json").read_text() == text


# What one process does: it opens the table before the other has written, and saves after it.
ONE_PROCESS = """
import sys, time
from pathlib import Path
from hwnas.export.native.tiles import TileTable
from hwnas.kernels.target import Target
path, kernel = Path(sys.argv[1]), sys.argv[2]
table = TileTable(path, "host")
(path.parent / f"open-{kernel}").touch()
deadline = time.monotonic() + 60
while len(list(path.parent.glob("open-*"))) < 2 and time.monotonic() < deadline:
    time.sleep(0.01)
for number in range(20):
    key = f"{kernel}{number}"
    table.new[key] = table.choices.setdefault("host", {})[key] = {"tile": key, "ns": [1, 2]}
    table.save()
"""


def test_two_processes_that_time_tiles_keep_each_others_choices(tmp_path: Path) -> None:
    path = tmp_path / "tiles.json"
    workers = [subprocess.Popen([sys.executable, "-c", ONE_PROCESS, str(path), kernel]) for kernel in "ab"]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    kept = json.loads(path.read_text())["choices"]["host"]
    assert set(kept) == {f"{kernel}{number}" for kernel in "ab" for number in range(20)}
    assert not list(tmp_path.glob("*.part"))


def test_tiles_are_timed_in_turn_with_what_else_is_timed_on_the_device(
    tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def timing(candidate: Candidate, machine: Target, clock: AbstractContextManager[None]) -> list[float]:
        probe = "import filelock, sys; filelock.FileLock(sys.argv[1]).acquire(timeout=0)"
        with clock:
            lock = str(tmp_path / ".clock.lock")
            done = subprocess.run([sys.executable, "-c", probe, lock], capture_output=True, check=False)
        held.append(done.returncode != 0)
        return [2.0, 1.0]

    monkeypatch.setattr(tiles, "time_candidates", timing)
    compile_onnx(nets.int8_net(8, 8), "host", tmp_path / "o", cache=kernel_cache, tiles=tmp_path / "tiles.json")
    assert held and all(held)
    with locked(tmp_path / "clock"):  # who measures already does not wait for itself
        again = tmp_path / "again.json"
        compile_onnx(nets.int8_net(8, 8), "host", tmp_path / "o", cache=kernel_cache, tiles=again)
