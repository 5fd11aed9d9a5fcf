"""Optional packages: the core measures and benches; what trains, compiles and cross-compiles is an extra each."""

from __future__ import annotations

from collections.abc import Mapping

from hwnas.errors import HwnasError

# The module that is imported -> the extra of pyproject.toml that brings it.
EXTRAS: Mapping[str, str] = {
    "torch": "train",
    "sklearn": "train",
    "pymoo": "train",
    "PIL": "train",
    "tokenizers": "train",
    "tvm": "compile",
    "tvm_ffi": "compile",
    "ziglang": "cross",
}


def missing_extra(problem: ImportError) -> HwnasError | None:
    """The error for a package that one of the extras brings; None where the import failed for another reason."""
    package = (problem.name or "").partition(".")[0]
    if not isinstance(problem, ModuleNotFoundError) or package not in EXTRAS:
        return None
    return HwnasError(f"this needs {package}, which is not installed", hint=f"pip install 'hwnas[{EXTRAS[package]}]'")
