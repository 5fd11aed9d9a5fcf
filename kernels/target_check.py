"""Asks LLVM about a target in a process of its own: its closed set of features, and whether kernels compile for it.

LLVM ends the whole process where a set of features cannot be (64-bit code without a 64-bit CPU, say), so the question
is put to a child; its answer is kept on disk, by target and by the sources and the compiler that gave it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from hwnas import errors, find
from hwnas.errors import HwnasError, nearest_names
from hwnas.kernels.target import Target, refuse_lacking

TIMEOUT_S = 300.0
PROGRAM = "import sys; sys.modules['torch'] = None; from hwnas.kernels.target_check import answer; answer()"


def cache_root() -> Path:
    """Where hwnas keeps what it compiled or asked: $XDG_CACHE_HOME/hwnas, by default ~/.cache/hwnas."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "hwnas"


@functools.cache
def kernels_digest() -> str:
    """Changes whenever any kernel source or the code generator's version does."""
    digest = hashlib.sha256(metadata.version("apache-tvm").encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def checked_features_of(target: Target) -> frozenset[str]:
    """All features that LLVM turns on for a target. HwnasError where it knows part of it not, or compiles nothing."""
    question = _question(target)
    kept = cache_root() / "targets" / f"{hashlib.sha256((question + kernels_digest()).encode()).hexdigest()[:32]}.json"
    found = _kept(kept)
    if found is None:
        found = _ask(target, question)
        _keep(kept, found)
    if "error" in found:
        raise HwnasError(f"target {target.text!r}: {found['error']}", nearest=found.get("nearest", ()))
    return frozenset(found["features"])


def _question(target: Target) -> str:
    parts = [target.text, target.arch, target.triple, target.cpu, target.attributes, target.abi]
    return json.dumps([*parts, repr(target.architecture)])


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    good = isinstance(found, dict) and isinstance(found.get("features", found.get("error")), list | str)
    return found if good else None


def _keep(path: Path, found: dict[str, Any]) -> None:
    """A folder that cannot be written costs the next process the question again, nothing else."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with open(handle, "w") as file:
            json.dump(found, file)
        os.replace(part, path)


def _ask(target: Target, question: str) -> dict[str, Any]:
    # the child finds hwnas and the packages that add to it where this process did, and nothing in the working folder
    added = find.packages()[1:]
    places = [str(Path(errors.__file__).parents[1]), *(path for path in sys.path if path and added)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), find.ENVIRONMENT: ",".join(added)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROGRAM],
            input=question, capture_output=True, text=True, check=False, env=environment, timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"LLVM compiled nothing for it within {TIMEOUT_S:.0f} s"}
    with contextlib.suppress(IndexError, ValueError):
        answered = json.loads(done.stdout.strip().splitlines()[-1])
        if isinstance(answered, dict):
            return answered
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit {done.returncode}"]
    if "ModuleNotFoundError" in said[-1]:
        raise HwnasError(f"compiling for {target.text!r} needs TVM: {said[-1]}", hint="pip install apache-tvm")
    reason = next((line for line in said if "LLVM ERROR" in line), said[-1])
    return {"error": f"LLVM cannot compile for it: {reason[:200]}"}


# -- in the child ----------------------------------------------------------------------------------------------


def answer() -> None:
    """Reads a question from standard input and prints one JSON object: features, or an error."""
    text, arch, triple, cpu, attributes, abi, _ = json.load(sys.stdin)
    target = Target(text, arch, triple, cpu, tuple(attributes), frozenset(), "", abi)
    print(json.dumps(_judged(target)), flush=True)


def _judged(target: Target) -> dict[str, Any]:
    from dataclasses import replace

    from tvm.target import codegen

    if not codegen.llvm_is_valid_cpu(target.cpu, target.triple):
        known = sorted(str(name) for name in codegen.llvm_get_cpu_archlist(replace(target, cpu="generic").tvm()))
        return {"error": f"LLVM has no CPU {target.cpu!r} for it", "nearest": nearest_names(target.cpu, known)}
    for attribute in target.attributes:
        name = attribute[1:]
        if name not in _features(replace(target, attributes=(f"+{name}",))):
            known = sorted(_features(target))
            return {"error": f"LLVM has no feature {name!r} for it", "nearest": nearest_names(name, known)}
    found = replace(target, features=frozenset(_features(target)))
    try:
        refuse_lacking(found)
    except HwnasError as lacking:
        return {"error": lacking.message}
    _compile_samples(found)
    return {"features": sorted(found.features)}


def _features(target: Target) -> set[str]:
    from tvm.target import codegen

    return {str(name) for name in codegen.llvm_get_cpu_features(target.tvm())}


def _compile_samples(target: Target) -> None:
    """One kernel of each kind of arithmetic: what a set of features breaks, it breaks in one of these."""
    from hwnas.kernels import binary_conv, fp32_conv, int8_conv, int8_depthwise, lut256, quantize
    from hwnas.kernels.binary_spec import BinaryConv
    from hwnas.kernels.codegen import compile_object
    from hwnas.kernels.image import Image, Window

    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    given, plain = Image(8, 8, 32, (1, 1, 1, 1)), Image(8, 8, 32)
    words = Image(8, 8, 1, (1, 1, 1, 1))
    specs: list[tuple[Any, Any]] = [
        (int8_conv, int8_conv.Int8Conv(given, plain, window)),
        (int8_depthwise, int8_depthwise.Int8Depthwise(given, plain, window)),
        (fp32_conv, fp32_conv.Fp32Conv(given, plain, window)),
        (binary_conv, BinaryConv(words, 32, 32, window, y=plain)),
        (quantize, quantize.Quantize(plain, plain)),
        (lut256, lut256.Lut256(plain, plain)),
    ]
    compile_object(
        [module.build(s, target).with_attr("global_symbol", f"sample_{i}") for i, (module, s) in enumerate(specs)],
        target,
    )
