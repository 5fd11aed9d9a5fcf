"""The frame of `hwnas`: finds a verb's file by its name, imports only that one, and turns errors into one line.

A verb is a file of this folder, or of `<package>/cli/` where HWNAS_PLUGINS lists the package, whose name does not begin
with an underscore. It defines either a function of its own name (one command) or `app`, a typer application (a verb
with sub-commands). The first line of the file's docstring is what `hwnas --help` prints beside it; the function's
docstring, opening with examples, is the verb's own help.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import typer
from typer.exceptions import TyperException

from hwnas import find
from hwnas.errors import HwnasError, unknown
from hwnas.extras import missing_extra

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h: a defect of hwnas, neither a failed check (1) nor a user's mistake (2)
INTERRUPTED = 130  # what typer returns for Ctrl-C
LONGEST_LINE = 1200
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

# The order of the pipeline; a verb that is not named here comes after these, in alphabetical order.
_ORDER = ("run", "devices", "measure", "train", "search", "export", "verify", "report", "methods")

_EPILOG = "HWNAS_DEBUG=1 shows the Python traceback of an error. Exit: 0 done, 1 a check failed, 2 bad input or Ctrl-C."


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run `hwnas <arguments>` and return its exit code; every error is one line on standard error."""
    try:
        return _dispatch(list(arguments) or ["--help"])
    except HwnasError as problem:
        return _fail(str(problem), problem.exit_code)
    except TyperException as problem:
        return _fail(_usage_line(problem), 2)
    except KeyboardInterrupt:
        return _interrupted()
    except ImportError as problem:
        missing = missing_extra(problem)
        return _fail(str(missing), 2) if missing else _unforeseen(problem)
    except MemoryError:
        return _fail("out of memory; hint: a smaller batch, space or number of samples needs less", 2)
    except OSError as problem:
        return _fail(_os_line(problem), 2)
    except Exception as problem:
        return _unforeseen(problem)


def _dispatch(arguments: list[str]) -> int:
    verbs = find_verbs()
    verb = arguments[0]
    if verb == "--version":
        from hwnas import __version__

        print(f"hwnas {__version__}")
        return 0
    if not verb.startswith("-") and verb not in verbs:
        raise unknown("command", verb, verbs)
    returned = program(verbs, verb)(args=arguments, prog_name="hwnas", standalone_mode=False)
    if returned == INTERRUPTED:
        return _interrupted()
    return returned if isinstance(returned, int) else 0


def find_verbs() -> dict[str, str]:
    """Every verb with the first line of its file's docstring, in pipeline order, without importing any of them."""
    rank = {name: position for position, name in enumerate(_ORDER)}
    verbs = sorted((name for name in find.names("cli") if name != "main"), key=lambda n: (rank.get(n, len(rank)), n))
    return {name: find.summary("cli", name) for name in verbs}


def program(verbs: dict[str, str], wanted: str) -> typer.Typer:
    """The application in which `wanted` is real and every other verb is only its line of help."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, epilog=_EPILOG)

    @app.callback()
    def top() -> None:
        """Measure blocks on your device, search under a hard limit, export INT8 and 1-bit networks that run there.

        \b
            hwnas run examples/quickstart.yaml     the whole pipeline, resumed where it stopped
            hwnas devices probe                    this machine as a device profile
            hwnas COMMAND --help                   examples and options of one command
        """

    for name, summary in verbs.items():
        if name == wanted:
            _add(app, name, summary, find.load("cli", name))
        else:
            app.command(name, short_help=summary)(_never_called)
    return app


def _never_called() -> None:
    """Stands for a verb that was not asked for."""


def _add(app: typer.Typer, name: str, summary: str, module: ModuleType) -> None:
    nested = vars(module).get("app")
    if isinstance(nested, typer.Typer):
        app.add_typer(nested, name=name, short_help=summary)
    else:
        app.command(name, short_help=summary)(find.value("cli", name, name))


def _fail(line: str, exit_code: int) -> int:
    if os.environ.get("HWNAS_DEBUG"):
        traceback.print_exc()
    line = " ".join(line.split())
    if len(line) > LONGEST_LINE:  # a message quotes what it got, which may be a page of brackets
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
    print(f"error: {line}", file=sys.stderr, flush=True)
    return exit_code


def _interrupted() -> int:
    return _fail("interrupted; every finished stage is kept; hint: the same command goes on from there", 2)


def _usage_line(problem: TyperException) -> str:
    """A usage error in the grammar of ours: lower case, no full stop, the nearest name last."""
    text = " ".join(problem.format_message().split())
    text = re.sub(r"\s*\(Possible options: (.*)\)$", r"; nearest: \1", text)
    text = re.sub(r"\.? Did you mean (.*)\?$", lambda found: f"; nearest: {found[1].replace(chr(39), '')}", text)
    text = text[:1].lower() + text[1:].rstrip(".")
    return text if "; nearest: " in text else f"{text}; hint: add --help to see what it takes"


def _os_line(problem: OSError) -> str:
    where = f" ({problem.filename})" if problem.filename else ""
    hint = "; hint: free some space, then the same command goes on" if problem.errno in FULL_DISK else ""
    return f"{problem.strerror or problem}{where}{hint}"


def _unforeseen(problem: Exception) -> int:
    """A defect of hwnas, or of a person's own file where that raised it: whose line comes last, libraries aside."""
    home, paths = str(Path(__file__).parents[1]) + os.sep, sysconfig.get_paths()
    libraries = ("<", paths["stdlib"], paths["purelib"], paths["platlib"])
    plugged = tuple(str(Path(file).parent) for file in map(_file_of, find.packages()) if file)
    frames = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if frame.filename.startswith((home, *plugged)) or not frame.filename.startswith(libraries)
    ]
    told = f"{type(problem).__name__}: {problem}; hint: HWNAS_DEBUG=1 shows the traceback"
    if frames[-1].filename.startswith(home):
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
        return _fail(f"a defect of hwnas at {where}: {told}", INTERNAL_ERROR)
    return _fail(f"{frames[-1].filename}:{frames[-1].lineno} raised {told}", 2)


def _file_of(package: str) -> str | None:
    return getattr(sys.modules.get(package), "__file__", None)
