"""How much flash and RAM a linked 32-bit firmware needs, read from its ELF program headers."""

from __future__ import annotations

import struct
from pathlib import Path

from hwnas.errors import HwnasError

_PT_LOAD = 1


def flash_and_ram(path: Path) -> tuple[int, int]:
    """(bytes stored in the image, bytes of writable memory without the stack) of a little-endian ELF32 file."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x01\x01":
        raise HwnasError(f"{path} is not a 32-bit little-endian ELF file")
    start, size, count = struct.unpack_from("<I", data, 28)[0], *struct.unpack_from("<HH", data, 42)
    flash = ram = 0
    for index in range(count):
        kind, _, _, _, stored, memory, flags, _ = struct.unpack_from("<8I", data, start + index * size)
        if kind == _PT_LOAD:
            flash += stored
            ram += memory if flags & 2 else 0
    return flash, ram
