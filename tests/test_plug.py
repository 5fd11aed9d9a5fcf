"""A name in a run file leads where it may, and what it finds is checked before it is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.cli.main import main
from hwnas.errors import HwnasError
from hwnas.plug import HWNAS_ALONE, Trust, bind, resolve
from hwnas.protocols import Examples, Sampler
from hwnas.space import SearchSpace
from tests.pipeline.runs import run_file

RULE = """
import pathlib
pathlib.Path({mark!r}).touch()

class Mine:
    def ask(self, n): return []
    def tell(self, architectures, scores): pass

class Half:
    def ask(self, n): return []

def make() -> Mine: return Mine()
def unsaid(): return Mine()
def text() -> str: return ""
def _hidden() -> Mine: return Mine()
from subprocess import run
from os import system
"""


@pytest.fixture
def beside(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with a file of its own name, which leaves a mark when it is run."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / f"{name_of(request)}.py").write_text(RULE.format(mark=str(tmp_path / "ran")))
    return folder


def name_of(request: pytest.FixtureRequest) -> str:
    """A module name that no other test uses."""
    return f"mine_{abs(hash(request.node.name))}"


@pytest.mark.parametrize(
    "use",
    ["os:system", "subprocess:run", "builtins:exec", "os.path:join", "shutil:rmtree", "posix:system"],
)
@pytest.mark.parametrize("section", ["space", "data", "rule", "sampler"])
def test_a_run_file_cannot_call_pythons_own_library(
    use: str, section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = use.split(":")[0].split(".")[0]
    settings = {"use": use, "command": f"touch {tmp_path}/ran"}
    changes = {"rule": {"train": {"rule": settings}}, "sampler": {"search": {"sampler": settings}}}
    path = run_file(tmp_path, plugins=[top], **changes.get(section, {section: settings}))
    assert main(["run", str(path)]) == 2
    said = capsys.readouterr().err
    assert "of Python's own library" in said and f"--trust {top}" in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("use", "told"),
    [
        ("hwnas.cli.main:entry", "cannot import"),
        ("hwnas.pipeline.run:run", "cannot import"),
        ("hwnas:load_native", "cannot import"),
        ("..pipeline.run:run", "cannot import"),
        ("rule/../sandwich", "cannot import"),
        ("yaml:unsafe_load", "list it under plugins:"),
        ("numpy:load", "list it under plugins:"),
        ("rule.sandwich:cross_entropy", "unknown name"),
        ("rule.sandwich:Sandwich", "is not a Sampler: it has no ask, tell"),
        ("search.nsga2:_front", "unknown name"),
        ("search.nsga2:__builtins__", "unknown name"),
    ],
)
def test_a_name_leads_nowhere_but_to_a_method_of_its_kind(use: str, told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        resolve(use, "methods", HWNAS_ALONE, (Sampler,))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Half", "is not a Sampler: it has no tell"),
        ("unsaid", "must be annotated to return Sampler, its annotation says nothing"),
        ("text", "must be annotated to return Sampler, its annotation says str"),
        ("_hidden", "unknown name"),
        ("run", "unknown name"),
        ("system", "unknown name"),
        ("pathlib", "unknown name"),
    ],
)
def test_what_is_found_beside_the_run_file_is_checked_before_it_is_called(
    name: str, told: str, beside: Path, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(HwnasError, match=told):
        resolve(f"{name_of(request)}:{name}", "methods", Trust(beside), (Sampler,))


@pytest.mark.parametrize("name", ["Mine", "make"])
def test_a_file_beside_the_run_file_is_found(name: str, beside: Path, request: pytest.FixtureRequest) -> None:
    found = resolve(f"{name_of(request)}:{name}", "methods", Trust(beside), (Sampler,))
    assert bind(found, {}, {}, "sampler").ask(1) == []


def test_the_same_file_is_not_found_without_trust(beside: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="cannot import"):
        resolve(f"{name_of(request)}:Mine", "methods", HWNAS_ALONE, (Sampler,))
    assert not (tmp_path / "ran").exists()


def test_a_link_out_of_the_folder_is_refused_unread(
    beside: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{name_of(request)}_link.py").symlink_to(beside / f"{name_of(request)}.py")
    with pytest.raises(HwnasError, match="is a link out of the run file's folder"):
        resolve(f"{name_of(request)}_link:Mine", "methods", Trust(other), (Sampler,))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("top", ["yaml", "torch", "pytest"])
def test_a_file_cannot_stand_before_an_installed_package(top: str, tmp_path: Path) -> None:
    (tmp_path / f"{top}.py").write_text("raise SystemExit('run')")
    with pytest.raises(HwnasError, match="is also the name of an installed package"):
        resolve(f"{top}:Mine", "methods", Trust(tmp_path), (Sampler,))


@pytest.mark.parametrize("trust", [Trust(plugins=("collected",)), Trust(packages=("collected",))])
def test_a_package_is_found_where_it_is_listed_or_trusted(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "collected"
    package.mkdir()
    (package / "inner.py").write_text("class Mine:\n    def __getitem__(self, i): return i\n")
    (package / "__init__.py").write_text("from collected.inner import Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert resolve("collected:Mine", "data.sources", trust, (Examples,)).__name__ == "Mine"
    assert sys.path[-1] == str(tmp_path), "the working directory comes last"
    for name in ("collected", "collected.inner"):
        sys.modules.pop(name)


def test_trust_opens_pythons_own_library_too() -> None:
    assert resolve("shelve:Shelf", "data.sources", Trust(packages=("shelve",)), (Examples,)).__name__ == "Shelf"


def test_a_function_that_returns_text_is_no_data_source(tmp_path: Path) -> None:
    (tmp_path / "texts_of_a_test.py").write_text("def texts() -> str: return 'x'\ndef space() -> int: return 1\n")
    for name, interface in (("texts", Examples), ("space", SearchSpace)):
        with pytest.raises(HwnasError, match="must be annotated to return"):
            resolve(f"texts_of_a_test:{name}", "data.sources", Trust(tmp_path), (interface,))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raise KeyError('x')", "KeyError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("def (", "SyntaxError"),
        ("import no_such_package_at_all", "needs the package 'no_such_package_at_all'"),
    ],
)
def test_a_file_that_does_not_load_is_one_line(
    text: str, told: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / f"{name_of(request)}.py").write_text(text)
    with pytest.raises(HwnasError, match=told):
        resolve(f"{name_of(request)}:Mine", "methods", Trust(tmp_path), (Sampler,))


def test_the_working_directory_does_not_stand_before_the_library(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise SystemExit('the working directory was imported')")
    done = subprocess.run(
        [sys.executable, "-m", "hwnas", "devices", "show", "null", "--json"],
        cwd=tmp_path, env={"PYTHONPATH": str(repository)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("class Pair: ...\ndef pair() -> Pair: ...\n", "pair"),
        ("def pair(): ...\nclass Pair: ...\n", "pair"),
        ("class Pair: ...\ndef pa_ir(): ...\n__all__ = ['Pair']\n", "Pair"),
        ("class PaIr: ...\n", "PaIr"),
    ],
)
def test_a_name_alone_is_what_has_the_file_s_own_name(body: str, found: str, outside: Path) -> None:
    (outside / "spaces").mkdir()
    (outside / "spaces" / "pair.py").write_text(body)
    assert resolve("pair", "spaces").__name__ == found
