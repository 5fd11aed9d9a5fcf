"""A native artefact's folder as its manifest describes it; nothing in a manifest is believed before it is checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError
from hwnas.export.native.ends import ELEMENT_BYTES, End, block_bytes, ends_of
from hwnas.export.native.replacement import MANIFEST, SCHEMA, file_digest
from hwnas.paths import read_json

#: more than any machine that a model is compiled for holds
MOST_BYTES = 2**40
MOST_ENDS = 64


@dataclass(frozen=True)
class NativeArtifact:
    """What was made: the folder, its files (name -> sha256) and the manifest's facts."""

    folder: Path
    name: str
    target: str
    files: Mapping[str, str]
    arena_bytes: int
    lower_bound_bytes: int
    constant_bytes: int
    manifest: Mapping[str, Any]

    def file(self, name: str) -> Path:
        """The path of one file of the artefact."""
        if name not in self.files:
            raise HwnasError(f"{self.folder} has no {name}", nearest=tuple(self.files))
        return self.folder / name

    @property
    def triple(self) -> str:
        return str(self.manifest["triple"])

    @property
    def inputs(self) -> tuple[End, ...]:
        return ends_of(self.manifest, "input")

    @property
    def outputs(self) -> tuple[End, ...]:
        return ends_of(self.manifest, "output")

    @property
    def input_bytes(self) -> int:
        """Of the block that holds all inputs."""
        return block_bytes(self.inputs)

    @property
    def output_bytes(self) -> int:
        """Of the block that holds all outputs."""
        return block_bytes(self.outputs)

    def check_files(self) -> None:
        """HwnasError where a listed file is missing, is a link, or is not the one that was listed."""
        for name, digest in self.files.items():
            path = self.folder / name
            if path.is_symlink() or not path.is_file():
                raise HwnasError(f"{self.folder} has no file {name}, which its manifest lists", hint="export it again")
            if file_digest(path) != digest:
                raise HwnasError(f"{path} is not the file that was exported", hint="export it again")


def end_bytes(end: Mapping[str, Any]) -> int:
    """Bytes of one input or output of a manifest."""
    return math.prod(end["shape"]) * ELEMENT_BYTES[end["type"]]


def artifact_of(folder: Path, manifest: Mapping[str, Any]) -> NativeArtifact:
    """The artefact that `manifest` describes; HwnasError names a key that is missing or cannot be."""
    several = "inputs" in manifest or "outputs" in manifest
    for key, what, good in (*_RULES, *(_SEVERAL if several else _ONE)):
        if key not in manifest or not good(manifest[key]):
            got = repr(manifest[key])[:80] if key in manifest else "nothing"
            raise HwnasError(f"{folder / MANIFEST}: {key} must be {what}, got {got}", hint="export it again")
    return NativeArtifact(
        folder,
        manifest["name"],
        manifest["target"],
        manifest["files"],
        manifest["arena_bytes"],
        manifest["lower_bound_bytes"],
        manifest["constant_bytes"],
        manifest,
    )


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST_BYTES


def _is_end(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in ELEMENT_BYTES:
        return False
    shape = value.get("shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= 8 or not all(_is_size(size) and size for size in shape):
        return False
    codes = [value[key] for key in ("scale", "zero_point", "below") if key in value]
    return end_bytes(value) < MOST_BYTES and all(type(code) in (int, float) for code in codes)


def _is_only_end(value: Any) -> bool:
    return _is_end(value) and len(value["shape"]) >= 2 and value["shape"][0] == 1


def _are_ends(value: Any) -> bool:
    """Named inputs or outputs."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_ENDS or not all(map(_is_end, value)):
        return False
    names = [item.get("name") for item in value]
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _is_files(value: Any) -> bool:
    return isinstance(value, dict) and all(
        re.fullmatch(r"[\w-][\w.-]*", name) and isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest)
        for name, digest in value.items()
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isidentifier()


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_RULES = (
    ("name", "a C identifier", _is_name),
    ("target", "a compiler target", lambda value: isinstance(value, str)),
    ("triple", "a text", lambda value: isinstance(value, str)),
    ("cpu", "a text", lambda value: isinstance(value, str)),
    ("features", "a list of texts", _is_texts),
    ("alignment", "a power of two up to 4096", lambda value: value in [2**n for n in range(13)] and _is_size(value)),
    ("arena_bytes", "a size in bytes", _is_size),
    ("lower_bound_bytes", "a size in bytes", _is_size),
    ("constant_bytes", "a size in bytes", _is_size),
    ("files", "plain names with their SHA-256", _is_files),
)

_ONE = (
    ("input", "a shape [1, ...] of positive sizes and a type", _is_only_end),
    ("output", "a shape [1, ...] of positive sizes and a type", _is_only_end),
)
_SEVERAL = (
    ("inputs", "a list of named shapes and types", _are_ends),
    ("outputs", "a list of named shapes and types", _are_ends),
)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of an artefact folder, checked for its schema."""
    path = Path(folder) / MANIFEST
    try:
        manifest = read_json(path)
    except HwnasError as problem:
        reason = " ".join(problem.message.split())[:200]
        raise HwnasError(
            f"{path} is not a native artefact's manifest: {reason}", hint="hwnas export --format native"
        ) from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if type(schema) is not int or schema != SCHEMA:
        raise HwnasError(f"{path} has schema {schema}", nearest=(str(SCHEMA),), hint="export it again")
    return dict(manifest)


def open_artifact(folder: str | Path) -> NativeArtifact:
    """An artefact made before."""
    return artifact_of(Path(folder), read_manifest(folder))
