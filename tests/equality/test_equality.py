"""What ships at this commit is what ships at its parent, to the byte, but for differences that are named and argued."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.equality.differences import differences
from tests.equality.meant import MEANT
from tests.equality.side import machine_code
from tests.equality.trees import base_commit, compare, same_sources

BASE = "HWNAS_EQUALITY_BASE"  # another commit to compare with


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_ships_equals_what_the_parent_commit_ships(tmp_path: Path) -> None:
    pytest.importorskip("tvm", reason="no TVM here, which compiles the kernels")
    base = base_commit(os.environ.get(BASE))
    if base is None:
        pytest.skip("no git history here: nothing to compare with")
    if same_sources(base):
        return  # documents and tests alone changed
    found = compare(base, tmp_path)
    assert not found, "\n".join(f"{place}: {what}" for place, what in found)


def test_one_changed_byte_row_figure_or_kernel_is_found(tmp_path: Path) -> None:
    sides = tmp_path / "base", tmp_path / "here"
    for side, changed in zip(sides, (0, 1), strict=True):
        side.mkdir()
        (side / "model.onnx").write_bytes(bytes([8, 10, changed]))
        (side / "table.csv").write_text(f"# schema=1\nkind,latency_us,measured_at\nconv,{changed}.5,{changed}\n")
        rows = [{"size_bytes": 10 + changed, "trained_further": {"seconds": changed}}]
        (side / "results.json").write_text(json.dumps({"created": changed, "rows": rows}))
        (side / "kernels.json").write_text(
            json.dumps({"kernels": {"host": {"net": {"kernels": ["a", f"b{changed}"]}}}})
        )
    (sides[0] / "lost.onnx").write_bytes(b"")
    assert list(differences(*sides)) == [
        ("lost.onnx", "only the base writes it"),
        ("model.onnx", "3 and 3 bytes, different from byte 2"),
        ("table.csv:row:0:latency_us", "'0.5' became '1.5'"),
        ("results.json:rows:0:size_bytes", "10 became 11"),
        ("kernels.json:kernels:host:net:kernels:1", "'b0' became 'b1'"),
    ]


@pytest.mark.parametrize("target", ["x86-avx2", "cortex-m4", "wasm32-simd128"])
def test_the_digest_of_a_kernel_is_of_its_code_and_not_of_its_name(target: str) -> None:
    pytest.importorskip("tvm", reason="no TVM here, which compiles the kernels")
    from hwnas.export.native.compile import plan_model
    from hwnas.kernels.codegen import compile_object
    from hwnas.kernels.target import parse_target
    from tests.native import nets

    machine = parse_target(target)
    _, calls = plan_model(nets.fp32_net(), machine)
    one, other = list(calls.values())[:2]
    plain, renamed, different = (
        machine_code(compile_object([call.build().with_attr("global_symbol", symbol)], machine))
        for call, symbol in ((one, "f"), (one, "another_name"), (other, "f"))
    )
    assert plain == renamed != different


def test_every_meant_difference_says_why() -> None:
    assert all(one.places and one.commit and len(one.reason.split()) >= 4 for one in MEANT)
