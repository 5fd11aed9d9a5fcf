"""Checkpoint files: tensors and plain values, written whole, and read without running anything that is in them."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.errors import HwnasError
from hwnas.paths import read_bytes, write_bytes

CHECKPOINT_LIMIT = 64 << 30  # what a machine may hold; more is no supernet of ours
_NAMED = re.compile(r"(torch|torch\._utils|collections) \w{1,60}")  # what torch.save names in tensors and dicts


def save_state(path: Path, state: Any) -> None:
    """Tensors and plain values to one file, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def load_state(path: Path) -> Any:
    """What `save_state` wrote (no code is run from the file); HwnasError when it is truncated or something else."""
    if not Path(path).exists():
        raise HwnasError(f"checkpoint {path} does not exist")
    data = read_bytes(path, CHECKPOINT_LIMIT)
    try:
        _check_archive(data)
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as problem:  # torch and zipfile raise many kinds for a damaged archive
        reason = (str(problem).splitlines() or [type(problem).__name__])[0][:120]
        raise HwnasError(
            f"checkpoint {path} is truncated or not a checkpoint ({reason})", hint="move it away and train again"
        ) from None


def _check_archive(data: bytes) -> None:
    """Raises where the archive is not as it was written: torch would read tensors with flipped bits without a word.

    torch.save stores every tensor as it is, so an archive that would unpack to more than its own size is not ours.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > len(data):
            raise ValueError("it holds more than its size")
        torn = archive.testzip()
        if torn is not None:
            raise ValueError(f"{torn} does not have the checksum it was written with")
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                _check_names(archive.read(name))


def _check_names(pickled: bytes) -> None:
    """Raises where the pickle names anything but tensors: torch refuses it too, but takes minutes to say so where the
    name is a page of brackets (it searches its own message with a regular expression)."""
    for opcode, value, _ in pickletools.genops(pickled):
        if opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
            raise ValueError(f"torch.save writes no {opcode.name}")
        if opcode.name == "GLOBAL" and not _NAMED.fullmatch(str(value)):
            raise ValueError(f"it names {str(value)[:60]!r}")


def take_up(module: nn.Module, state: Any, path: Path) -> None:
    """Loads a checkpoint's `net` into the module; HwnasError where its tensors are not this net's."""
    try:
        module.load_state_dict(state["net"])
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError) as problem:
        raise HwnasError(
            f"checkpoint {path} does not hold this net: {' '.join(str(problem).split())[:200]}",
            hint="move it away and train again",
        ) from None


def require_plain(value: Any, where: str) -> None:
    """HwnasError where `value` holds anything but tensors, numbers, text, lists and mappings: it could be written and
    would be refused when it is read."""
    if isinstance(value, dict):
        for key, held in value.items():
            require_plain(key, where)
            require_plain(held, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for i, held in enumerate(value):
            require_plain(held, f"{where}[{i}]")
    elif type(value) not in (bool, int, float, str, type(None)) and not isinstance(value, Tensor):
        raise HwnasError(f"{where} must be a tensor or a plain value, got {type(value).__name__}")
