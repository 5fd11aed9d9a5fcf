"""An export takes away only what an export wrote: what stands at --out is replaced where it is ours and unchanged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hwnas.cli.main import main
from hwnas.errors import HwnasError
from hwnas.export.native import compile_onnx, replacement
from hwnas.export.native.replacement import MANIFEST, file_digest, new_folder, sealed
from hwnas.paths import write_text
from tests.native import nets


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    path.write_bytes(nets.int8_net(8, 8).SerializeToString())
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write(folder: Path, text: str = "first") -> None:
    """A small artefact, written as exports are."""
    with new_folder(folder) as whole:
        (whole / "model.h").write_text(text)
        manifest = sealed({"schema": 1, "files": {"model.h": file_digest(whole / "model.h")}})
        (whole / MANIFEST).write_text(json.dumps(manifest))


def export(model: Path, out: Path) -> int:
    return main(["export", str(model), "--format", "native", "--out", str(out)])


def refused(model: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an export that is refused."""
    capsys.readouterr()
    assert export(model, out) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note:")]
    assert len(error) == 1
    return error[0]


def test_a_web_applications_folder_keeps_its_sources(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a manifest.json of its own."""
    site = tmp_path / "site"
    (site / "src").mkdir(parents=True)
    (site / MANIFEST).write_text('{"name": "My app", "start_url": "/", "schema": 1, "files": {}}')
    (site / "src" / "app.js").write_text("months of work")
    before = tree(site)
    assert "src" in refused(model, site, capsys)
    assert tree(site) == before and [p.name for p in tmp_path.iterdir()] == ["site"]


def test_a_projects_export_folder_keeps_its_models(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "int8-onnxruntime"
    folder.mkdir()
    (folder / MANIFEST).write_text('{"int8": {"format": 1}}')
    (folder / "model.int8.onnx").write_bytes(model.read_bytes())
    before = tree(folder)
    assert "model.int8.onnx" in refused(model, folder, capsys)
    assert "manifest.json" in refused(model, folder, capsys)
    assert tree(folder) == before


def test_an_earlier_export_is_replaced(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(model, tmp_path / "out") == 0
    first = tree(tmp_path / "out")
    assert export(model, tmp_path / "out") == 0
    assert tree(tmp_path / "out").keys() == first.keys() and [p.name for p in tmp_path.iterdir()] == ["out"]


def _edit(folder: Path) -> None:
    (folder / "model.h").write_text("edited by hand")


def _edit_manifest(folder: Path) -> None:
    found = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(found | {"note": "mine"}))


def _add_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def _add_folder(folder: Path) -> None:
    (folder / "model").mkdir()


def _link(folder: Path) -> None:
    (folder.parent / "kept.h").write_text("first")
    (folder / "model.h").unlink()
    (folder / "model.h").symlink_to("../kept.h")


@pytest.mark.parametrize("change", [_edit, _edit_manifest, _add_file, _add_folder, _link])
def test_an_artefact_that_was_changed_since_is_the_users(change: object, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(folder)
    assert callable(change)
    change(folder)
    before = tree(tmp_path)
    with pytest.raises(HwnasError, match="changed since"):
        write(folder, "second")
    assert tree(tmp_path) == before


def test_a_file_and_the_working_folder_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "is a file" in refused(model, tmp_path / "thesis.tex", capsys)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "working folder" in refused(model, Path("."), capsys)
    assert "working folder" in refused(model, tmp_path, capsys)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    write(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "second")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "model.h").read_text() == "second"
    (tmp_path / "real" / "notes.txt").write_text("mine")
    with pytest.raises(HwnasError, match=r"notes\.txt"):
        write(tmp_path / "link", "third")


def test_a_link_to_nothing_makes_the_folder_it_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("later")
    write(tmp_path / "link")
    assert (tmp_path / "later" / "model.h").read_text() == "first"


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out")
    before = tree(tmp_path)
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as whole:
        (whole / "model.h").write_text(f"half {1 / 0}")
    assert tree(tmp_path) == before


def test_what_appears_in_the_folder_during_an_export_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "out")
    with pytest.raises(HwnasError, match="changed during the export"), new_folder(tmp_path / "out"):
        (tmp_path / "out" / "notes.txt").write_text("mine")
    assert [path.read_text() for path in tmp_path.rglob("notes.txt")] == ["mine"]


def test_an_error_while_looking_at_the_older_folder_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that cannot be read, or Ctrl-C: what was written during the export has no other copy."""
    write(tmp_path / "out")
    looks = []

    def failing(folder: Path) -> list[str]:
        looks.append(folder)
        if len(looks) > 1:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(replacement, "foreign_files", failing)
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "out"):
        (tmp_path / "out" / "notes.txt").write_text("mine")
    assert [path.read_text() for path in tmp_path.rglob("notes.txt")] == ["mine"]


@pytest.mark.parametrize("step", [1, 2])
def test_without_an_exchange_a_kill_between_the_moves_loses_nothing(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system call is missing on some file systems; then two moves are needed, and a kill may fall between."""
    write(tmp_path / "out")
    monkeypatch.setattr(replacement, "_exchange", lambda *_: False)
    moves = []
    rename = os.rename

    def dying(source: object, target: object) -> None:
        if (tmp_path / "out") in (source, target):
            moves.append(target)
            if len(moves) == step:
                raise KeyboardInterrupt
        rename(str(source), str(target))

    monkeypatch.setattr(replacement.os, "rename", dying)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", "second")
    assert "first" in [path.read_text() for path in tmp_path.rglob("model.h")]
    monkeypatch.setattr(replacement.os, "rename", rename)
    if step == 1:
        write(tmp_path / "out", "second")
        assert (tmp_path / "out" / "model.h").read_text() == "second"


def test_a_folder_that_cannot_be_made_is_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(model, tmp_path / "file" / "out", capsys)


def test_a_refused_place_costs_no_compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    monkeypatch.setattr("hwnas.export.native.compile.plan_model", None)
    with pytest.raises(HwnasError, match=r"thesis\.tex"):
        compile_onnx(nets.int8_net(), "host", tmp_path)


def test_a_file_behind_a_link_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    write_text(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink() and (tmp_path / "real.json").read_text() == "new"


@pytest.mark.parametrize(
    "target", ["x86_64-linux-gnu -mcpu=haswell -mattr=-64bit", "riscv32", "cortex-m0", "\0", "a" * 10_000, "..", "-"]
)
def test_any_text_as_a_target_is_one_line_and_exit_2(
    target: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(model), "--format", "native", "--target", target, "--out", str(out)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not out.exists()
