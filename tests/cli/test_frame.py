"""The command line as a user drives it: fresh processes, one line of error, exact exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwnas.cli import main as frame
from hwnas.cli._output import keeping
from hwnas.errors import CheckFailed, HwnasError

REPOSITORY = Path(__file__).resolve().parents[2]


def hwnas(*arguments: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """`hwnas <arguments>` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from hwnas.cli.main import entry; entry()", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
        check=False,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], exit_code: int, *words: str) -> None:
    """One line on standard error that holds `words`, nothing on standard output."""
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_help_lists_every_verb_with_what_it_does() -> None:
    done = hwnas("--help")
    assert done.returncode == 0 and done.stderr == ""
    for verb, summary in frame.find_verbs().items():
        assert verb in done.stdout
        assert summary.split()[0] in done.stdout


def test_without_arguments_the_help_is_shown() -> None:
    assert hwnas().stdout == hwnas("--help").stdout


def test_the_version_is_printed() -> None:
    from hwnas import __version__

    assert hwnas("--version").stdout == f"hwnas {__version__}\n"


@pytest.mark.parametrize("verb", sorted(frame.find_verbs()))
def test_the_help_of_every_verb_opens_with_examples_and_offers_json(verb: str) -> None:
    done = hwnas(verb, "--help")
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    assert lines[1] == "Examples:" and lines[2].startswith(f"hwnas {verb}")
    assert "--json" in done.stdout


def test_a_mistyped_verb_names_the_nearest() -> None:
    assert_one_line(hwnas("devics"), 2, "unknown command 'devics'", "nearest: devices")


def test_a_mistyped_option_names_the_nearest() -> None:
    assert_one_line(hwnas("methods", "--jsn"), 2, "no such option: --jsn", "nearest: --json")


def test_a_mistyped_subcommand_names_the_nearest() -> None:
    assert_one_line(hwnas("devices", "shwo"), 2, "nearest: show")


def test_a_missing_argument_says_which() -> None:
    assert_one_line(hwnas("devices", "show"), 2, "missing argument 'name'", "--help")


def test_an_unknown_device_names_the_nearest() -> None:
    assert_one_line(hwnas("devices", "show", "raspbery-pi-5"), 2, "nearest: raspberry-pi-5")


def test_debugging_shows_the_traceback_and_keeps_the_exit_code() -> None:
    done = hwnas("devices", "show", "nothing-like-it", HWNAS_DEBUG="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr and "error: unknown device" in done.stderr


@pytest.mark.parametrize("arguments", [["devices"], ["devices", "list"], ["devices", "--json", "list"], ["methods"]])
def test_json_is_the_only_thing_on_standard_output(arguments: list[str]) -> None:
    done = hwnas(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_a_device_shows_every_number_with_its_source() -> None:
    shown = json.loads(hwnas("devices", "show", "raspberry-pi-5", "--json").stdout)
    assert shown["cpu"]["cores"]["value"] == 4
    assert shown["cpu"]["cores"]["source"]


def run_verb(outside: Path, body: str) -> int:
    """Exit code of a verb whose body is `body`, in a package outside."""
    (outside / "cli").mkdir()
    (outside / "cli" / "probe.py").write_text(
        f'"""A verb of a test."""\nimport errno\n\ndef probe() -> None:\n    {body}\n'
    )
    return frame.main(["probe"])


@pytest.mark.parametrize(
    ("body", "exit_code", "words"),
    [
        ("pass", 0, ""),
        ("raise OSError(errno.ENOSPC, 'No space left on device', 'x.csv')", 2, "No space left on device (x.csv); hint"),
        ("raise PermissionError(errno.EACCES, 'Permission denied', '/proc/x')", 2, "Permission denied (/proc/x)"),
        ("raise MemoryError", 2, "out of memory"),
        ("raise KeyboardInterrupt", 2, "interrupted; every finished stage is kept"),
        ("raise ValueError('two\\nlines')", 2, "probe.py:5 raised ValueError: two lines; hint: HWNAS_DEBUG"),
        ("import json; json.loads(7)", 2, "probe.py:5 raised TypeError: the JSON object"),
        ("from hwnas.network import elements; elements(None)", 70, "a defect of hwnas at network.py:"),
    ],
)
def test_what_a_verb_raises_becomes_one_line_and_an_exit_code(
    body: str,
    exit_code: int,
    words: str,
    outside: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_verb(outside, body) == exit_code
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == (1 if exit_code else 0)


def test_a_package_whose_name_begins_like_this_one_is_not_told_as_a_defect(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = f"{Path(frame.__file__).parents[1]}_mine/rule.py"
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", mine, "exec"))
    assert frame._unforeseen(caught.value) == 2
    assert f"{mine}:1 raised ZeroDivisionError" in capsys.readouterr().err


def test_a_failed_check_exits_1_and_bad_input_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(problem: HwnasError) -> int:
        def raise_it(arguments: list[str]) -> int:
            raise problem

        monkeypatch.setattr(frame, "_dispatch", raise_it)
        return frame.main(["any"])

    assert fail(CheckFailed("limit exceeded")) == 1
    assert fail(HwnasError("bad key", nearest=("good",), hint="read the manual")) == 2
    assert capsys.readouterr().err.splitlines()[1] == "error: bad key; nearest: good; hint: read the manual"


def test_an_interrupted_stage_says_what_it_keeps() -> None:
    with pytest.raises(HwnasError, match="interrupted; kept: 12 rows") as caught, keeping("12 rows of the table"):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 2


def test_ctrl_c_ends_a_running_command_with_one_line(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = (
        "import pathlib, sys, time, hwnas.cli.main as m\n"
        f"def slow(arguments):\n    pathlib.Path({str(ready)!r}).touch()\n    time.sleep(60)\n"
        "m._dispatch = slow\nsys.exit(m.main(['run']))"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    running = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 30
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 2
    assert said.startswith("error: interrupted") and said.count("\n") == 1
