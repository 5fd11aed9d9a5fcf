"""What is shipped: verdicts speak of the very bytes, limits are judged on every quantity of the file, twins run in
every engine, and a machine that has drifted is named."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwnas.boards import null as null_board
from hwnas.cli.main import main
from hwnas.engines import Artefact
from hwnas.engines.null import Engine as NullEngine
from hwnas.engines.null import priced
from hwnas.errors import CheckFailed
from hwnas.network import Operator
from hwnas.pipeline import run, timing, verifying
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from tests.pipeline.runs import run_file

TVM = [{"precision": "int8", "engine": "tvm"}]
TRAIN = {"epochs": 1, "batch_size": 256, "rule": {"use": "rule.single_path:SinglePath"}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of an INT8 target in our own kernels, on the null device."""
    pytest.importorskip("tvm", reason="libraries are compiled with apache-tvm")
    folder = tmp_path_factory.mktemp("finished")
    assert main(["run", str(run_file(folder, targets=TVM, train=TRAIN))]) == 0
    return folder


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run, and its run file."""
    for name in ("tables", "runs"):
        shutil.copytree(finished / name, tmp_path / name)
    return run_file(tmp_path, targets=TVM, train=TRAIN)


def export_of(path: Path) -> Path:
    return path.parent / "runs" / "tiny" / "export" / "int8-tvm"


def results_of(path: Path) -> Any:
    return json.loads((path.parent / "runs" / "tiny" / "results.json").read_text())


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def altered(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(bytes(held))


def test_a_library_is_compiled_again_where_the_tile_table_has_changed(again: Path) -> None:
    kept, table = export_of(again) / "native-int8.json", again.parent / "tables" / "null" / "tiles.json"
    first = json.loads(kept.read_text())
    kernels = [name for name, tile in first["value"]["choices"].items() if tile is None]
    assert kernels and not table.exists(), "a made-up device has default tiles"
    choices = {"host": {kernels[0]: {"tile": "another", "ns": [1]}}}
    table.write_text(json.dumps({"schema": 1, "choices": choices}))
    assert main(["export", str(again)]) == 0
    second = json.loads(kept.read_text())
    assert second["value"]["choices"][kernels[0]] == "another" != first["value"]["choices"][kernels[0]]
    times = (export_of(again) / "native-int8" / "manifest.json").stat().st_mtime_ns
    assert main(["export", str(again)]) == 0
    assert (export_of(again) / "native-int8" / "manifest.json").stat().st_mtime_ns == times, "and then it is kept"


# -- kept verdicts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [Path.unlink, emptied, altered])
@pytest.mark.parametrize(
    "name", ["native-int8/libmodel.so", "native-int8/manifest.json", "model.int8.onnx", "expected.int8.npz"]
)
def test_a_file_that_is_gone_emptied_or_altered_is_noticed_and_made_again(
    damage: Callable[[Path], None], name: str, again: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (export_of(again) / name).read_bytes()
    damage(export_of(again) / name)
    capsys.readouterr()
    assert main(["run", str(again)]) == 0
    assert f"{name} is not what was exported (altered or gone): exporting again" in " ".join(
        capsys.readouterr().err.split()
    )
    if damage is not Path.unlink:
        aside = list(again.parent.glob(f"runs/tiny/earlier/export/int8-tvm/**/{Path(name).stem}-*{Path(name).suffix}"))
        assert len(aside) == 1 and aside[0].read_bytes() != whole, "what somebody altered is not lost"
    made = (export_of(again) / name).read_bytes()
    assert made == whole or (name.endswith(("manifest.json", ".so")) and len(made) >= 0.9 * len(whole))
    assert all(row["verified"].startswith("ok") for row in results_of(again)["targets"][0]["rows"])


def test_a_library_that_is_gone_whole_is_made_again(again: Path) -> None:
    shutil.rmtree(export_of(again) / "native-int8")
    assert main(["run", str(again)]) == 0
    assert (export_of(again) / "native-int8" / "libmodel.so").stat().st_size > 0


def test_the_verb_verify_always_runs_and_a_run_keeps_its_verdicts(
    again: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Path] = []
    honest = verifying.verify_file
    monkeypatch.setattr(verifying, "verify_file", lambda file, *rest: ran.append(file) or honest(file, *rest))
    assert main(["run", str(again)]) == 0
    assert not ran, "nothing changed"
    assert main(["verify", str(again)]) == 0
    assert {file.name for file in ran} == {"native-int8", "model.int8.onnx", "native-fp32", "model.fp32.onnx"}
    assert "bit-equal" in capsys.readouterr().out


def test_another_compiler_compiles_the_libraries_again(again: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = again.parent / "runs/tiny/export/int8-tvm/native-int8.json"
    before = json.loads(kept.read_text())
    monkeypatch.setattr("hwnas.pipeline.shipping.toolchain", lambda target: {"C compiler": "another"})
    assert main(["run", str(again)]) == 0
    after = json.loads(kept.read_text())
    assert after["identity"] != before["identity"] and after["code"]["C compiler"] == "another"
    assert before["code"]["kernels and TVM"], "the kernels' sources and TVM's version decide a library"


# -- limits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statistic", ["p50", "p90", "p99"])
def test_a_limit_names_its_statistic_and_is_judged_by_it(
    statistic: str, again: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(again), "--limit", f"latency_{statistic}_us=4.0"]) == 0
    assert results_of(again)["statistic"] == statistic and f"latency ({statistic})" in capsys.readouterr().out
    honest = NullEngine.network
    monkeypatch.setattr(
        NullEngine, "network", lambda self, n, *at: priced(2 * honest(self, n, *at).options["latency_us"], 1.0)
    )
    assert main(["run", str(again), "--limit", f"latency_{statistic}_us=4.0"]) == 1
    assert "latency over by" in capsys.readouterr().err


def test_a_statistic_that_repeats_itself_too_badly_here_is_refused(
    again: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as busy:
        busy.setattr("hwnas.fidelity._noise", lambda loads, statistic: 0.31 if statistic == "p99" else 0.0)
        (again.parent / "tables" / "null" / "card.json").unlink()
        assert main(["run", str(again), "--limit", "latency_p99_us=4.0"]) == 2
        said = capsys.readouterr().err
        assert "the p99 latency of one network differs by 31.0% from timing to timing" in said and "latency_us" in said
        assert main(["run", str(again), "--limit", "latency_p90_us=4.0"]) == 0
    assert main(["run", str(again), "--limit", "latency_p99_us=4.0"]) == 0, "a quiet machine is graded again"


def test_memory_is_judged_by_the_arena_that_the_library_asks_for(
    again: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ["--limit", "peak_memory_bytes=100000"]
    assert main(["run", str(again), *limit]) == 0
    row = results_of(again)["targets"][0]["rows"][0]
    library = json.loads((export_of(again) / "native-int8" / "manifest.json").read_text())
    assert row["arena_bytes"] == library["arena_bytes"] and row["verdicts"] == {"peak_memory": True}
    honest = timing.contents
    monkeypatch.setattr(timing, "contents", lambda shipped: {**honest(shipped), "arena_bytes": 150_000})
    assert main(["run", str(again), *limit]) == 1, "whatever the search was told, the library decides"
    assert "peak_memory over by 48.8 KiB (+50.0%)" in capsys.readouterr().err


def test_size_is_read_from_the_file_and_energy_measured_on_it(
    again: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hwnas.export.native import open_artifact

    limits = ["--limit", "size_kb=1000", "--limit", "energy_uj=1000"]
    assert main(["run", str(again), *limits]) == 0
    row = results_of(again)["targets"][0]["rows"][0]
    held = open_artifact(export_of(again) / "native-int8")
    assert row["weight_bytes"] == held.constant_bytes and row["verdicts"] == {"size": True, "energy": True}
    assert row["file_bytes"] == held.file("libmodel.so").stat().st_size and row["energy_uj"] > 0
    capsys.readouterr()
    honest = NullEngine.network
    monkeypatch.setattr(
        NullEngine, "network", lambda self, n, *at: priced(honest(self, n, *at).options["latency_us"], 2000.0)
    )
    assert main(["run", str(again), *limits]) == 1
    assert "energy over by" in capsys.readouterr().err


def test_constants_of_an_onnx_file_are_counted_with_those_in_its_functions() -> None:
    from onnx import TensorProto, helper

    from hwnas.pipeline.timing import constant_bytes

    tensor = helper.make_tensor("t", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    inner = helper.make_node("Constant", [], ["c"], value=tensor)
    function = helper.make_function("own", "f", [], ["c"], [inner], [helper.make_opsetid("", 21)])
    weight = helper.make_tensor("w", TensorProto.INT8, [5], [1, 2, 3, 4, 5])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    graph = helper.make_graph([helper.make_node("f", [], ["y"], domain="own")], "g", [], [end], [weight])
    model = helper.make_model(graph, functions=[function])
    assert constant_bytes(model.SerializeToString()) == 12 + 5


# -- timing ----------------------------------------------------------------------------------------------------


def test_fp32_twins_run_in_every_engine_and_all_statistics_stand_beside_every_file(finished: Path) -> None:
    rows = results_of(finished / "tiny.yaml")["targets"][0]["rows"]
    assert {(row["role"], row["engine"]) for row in rows} == {
        ("winner", "tvm"), ("fp32 twin", "onnxruntime"), ("fp32 twin", "tvm"),
    }  # fmt: skip
    assert all(row[f"{name}_us"] > 0 for row in rows for name in ("measured", "p50", "p90", "p99"))
    manifest = json.loads((export_of(finished / "tiny.yaml") / "manifest.json").read_text())
    assert set(manifest) == {"native-int8", "model.fp32.onnx", "native-fp32"}
    assert manifest["native-int8"]["int8"]["weight_bits"] in (7, 8) and manifest["native-int8"]["int8"]["exact_on"]


def test_a_machine_that_has_drifted_since_its_tables_is_named(
    again: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert results_of(again)["drift"] == {"tvm-fp32": 0.0, "tvm-int8": 0.0}
    honest = NullEngine.block

    def slower(self: NullEngine, operator: Operator, folder: Path) -> Artefact:
        exact = honest(self, operator, folder).options
        return priced(1.5 * exact["latency_us"], exact["energy_uj"])

    monkeypatch.setattr(NullEngine, "block", slower)
    main(["run", str(again)])
    assert results_of(again)["drift"] == {"tvm-fp32": 0.5, "tvm-int8": 0.5}
    assert "table tvm-int8: rows timed again are +50.0% off" in " ".join(capsys.readouterr().err.split())


def test_a_table_that_winners_hardly_read_tells_nothing_of_drift(again: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the fp32 table an INT8 net reads its last conversion alone."""
    monkeypatch.setattr(timing, "DRIFT_WEIGHT", 0.4)
    main(["run", str(again)])
    assert results_of(again)["drift"] == {"tvm-int8": 0.0}


def test_files_are_timed_under_the_lock_that_rows_are_timed_under(again: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []
    honest_clock, honest_time = null_board.device_clock, null_board.time_here

    @contextlib.contextmanager
    def clock(*arguments: Any) -> Iterator[None]:
        with honest_clock(*arguments):
            held.append(True)
            yield
            held.pop()

    def time_here(*arguments: Any, **named: Any) -> Any:
        assert held, "another process may be timing"
        return honest_time(*arguments, **named)

    monkeypatch.setattr(null_board, "device_clock", clock)
    monkeypatch.setattr(null_board, "time_here", time_here)
    assert main(["run", str(again)]) == 0


# -- one file alone --------------------------------------------------------------------------------------------


def test_a_library_for_a_target_is_verified_by_the_manifest_beside_it(
    again: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(again), "--format", "native", "--target", "host"]) == 0
    folder = export_of(again) / "native-int8-host"
    assert json.loads((folder.parent / "manifest.json").read_text())[folder.name]["engine"] == "native"
    capsys.readouterr()
    assert main(["verify", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["exact_required"] and said["differing_outputs"] == 0 and said["runtime"].startswith("native")


def test_a_file_without_a_manifest_or_a_tolerance_is_refused_not_guessed_about(
    again: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lone = tmp_path / "elsewhere" / "net.onnx"
    lone.parent.mkdir()
    shutil.copy(export_of(again) / "model.fp32.onnx", lone)
    assert main(["verify", str(lone)]) == 2
    assert "says which samples it must answer" in capsys.readouterr().err
    samples = export_of(again) / "expected.fp32.npz"
    assert main(["verify", str(lone), "--samples", str(samples)]) == 0, "the samples themselves say how equal"
    held = {name: value for name, value in np.load(samples).items() if name != "tolerance"}
    np.savez(tmp_path / "own.npz", **held)
    capsys.readouterr()
    assert main(["verify", str(lone), "--samples", str(tmp_path / "own.npz")]) == 2
    assert "says how equal" in capsys.readouterr().err


def test_a_whole_export_folder_is_refused_by_naming_what_is_in_it(
    again: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(export_of(again))]) == 2
    told = capsys.readouterr().err
    assert "holds 3 exported files" in told and "hint: verify one: " in told


def test_a_twin_that_computes_something_else_ends_the_run(again: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(read_run_file(again), progress=False)
    twin = SimpleNamespace(role="fp32 twin", target=SimpleNamespace(name="int8-tvm"), engine="tvm", architecture=None)

    def disagreeing(*_: object) -> None:
        raise CheckFailed("236 of 256 values differ")

    monkeypatch.setattr(run.shipping, "export", disagreeing)
    monkeypatch.setattr("hwnas.pipeline.learning.further_estimate", lambda *_: None)
    with pytest.raises(CheckFailed, match="values differ"):
        run.export_all(job, None, [twin])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("samples", ["expected.fp32.npz"], "samples must be the name of a file beside it"),
        ("samples", "../elsewhere.npz", "samples must be the name of a file beside it"),
        ("samples", "linked.npz", "samples must be the name of a file beside it"),
        ("samples", "a" * 5000, "FILE.npz"),
        ("samples", "pipe.npz", "is no file"),
        ("samples", "text.npz", "as many labels and outputs as images"),
        ("samples", "bare.npz", "does not hold images, labels and expected"),
        ("tolerance", {"onnx": {"rounding": "much", "steps": 0}}, "gives no tolerance"),
        ("tolerance", {"onnx": {"rounding": -1.0, "steps": 0}}, "gives no tolerance"),
    ],
)
def test_a_manifest_cannot_lead_verify_elsewhere_or_make_it_wait(
    again: Path, key: str, value: object, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export_of(again)
    samples = dict(np.load(folder / "expected.fp32.npz"))
    np.savez(folder.parent / "elsewhere.npz", **samples)
    (folder / "linked.npz").symlink_to(folder.parent / "elsewhere.npz")
    os.mkfifo(folder / "pipe.npz")
    np.savez(folder / "text.npz", **{**samples, "expected": np.array(["a"])})
    (folder / "bare.npz").write_bytes(b"PK\3\4 and no archive")
    del samples["tolerance"]
    np.savez(folder / "own.npz", **samples)
    manifest = json.loads((folder / "manifest.json").read_text())
    spoilt = {name: {**entry, "samples": "own.npz", key: value} for name, entry in manifest.items()}
    (folder / "manifest.json").write_text(json.dumps(spoilt))
    assert main(["verify", str(folder / "model.fp32.onnx")]) == 2
    assert told in capsys.readouterr().err


def test_a_renamed_copy_is_found_by_its_digest(again: Path) -> None:
    copy = export_of(again) / "renamed.onnx"
    shutil.copy(export_of(again) / "model.fp32.onnx", copy)
    assert main(["verify", str(copy)]) == 0


def test_an_export_after_a_run_keeps_what_the_run_measured(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((export_of(again) / "manifest.json").read_text())
    assert main(["export", str(again)]) == 0
    assert json.loads((export_of(again) / "manifest.json").read_text()) == before
    assert before["native-int8"]["p99_us"] > 0


def test_a_run_for_another_machine_without_its_tables_is_refused_before_anything_is_timed_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(run_file(tmp_path, device="raspberry-pi-5"))]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "is not this machine" in said and "hwnas devices probe on it gives its profile" in said
