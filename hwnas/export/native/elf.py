"""How much flash and RAM a linked 32-bit firmware needs, counted over its sections as `size` does."""

from __future__ import annotations

import struct
from pathlib import Path

from hwnas.errors import HwnasError

_NOBITS = 8
_WRITE, _ALLOCATED = 1, 2


def flash_and_ram(path: Path) -> tuple[int, int]:
    """(text + data, data + bss) of a little-endian ELF32 file: bytes stored in the image, and bytes of writable memory
    without the stack. Initialised data count in both: they lie in flash and are copied to RAM at the start.
    """
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x01\x01":
        raise HwnasError(f"{path} is not a 32-bit little-endian ELF file")
    start, size, count = struct.unpack_from("<I", data, 32)[0], *struct.unpack_from("<HH", data, 46)
    flash = ram = 0
    for index in range(count):
        _, kind, flags, _, _, length = struct.unpack_from("<6I", data, start + index * size)
        if flags & _ALLOCATED:
            flash += 0 if kind == _NOBITS else length
            ram += length if flags & _WRITE else 0
    return flash, ram
