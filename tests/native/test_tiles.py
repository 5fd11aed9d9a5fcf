"""The tile table: candidates are timed once, the choice is kept, and any choice gives the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.export.native import compile_onnx, load_native
from hwnas.export.native.lower import Candidate
from hwnas.export.native.tiles import TileTable
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
    with pytest.raises(HwnasError, match=r"tiles\.json.*(is not|must)"):
        TileTable(tmp_path / "tiles.json", "host")
    assert (tmp_path / "tiles.json").read_text() == text
