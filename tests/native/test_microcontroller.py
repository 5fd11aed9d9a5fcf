"""Firmware as vendors build it: an ordinary linker script, a flat image in flash, and sizes that `size` confirms."""

from __future__ import annotations

import importlib.util
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwnas.export.native import NativeArtifact, compile_onnx, microcontroller
from tests.native import nets

# What STM32CubeMX and its like write: the start-up code copies .data from flash, and nothing else. No .got is placed.
SCRIPT = """\
ENTRY(start)
MEMORY { RAM (xrw) : ORIGIN = 0x20000000, LENGTH = 4M  FLASH (rx) : ORIGIN = 0x0, LENGTH = 4M }
stack_top = ORIGIN(RAM) + LENGTH(RAM);
SECTIONS {
  .isr_vector : { . = ALIGN(4); KEEP(*(.vectors)) . = ALIGN(4); } >FLASH
  .text : { . = ALIGN(4); *(.text) *(.text*) . = ALIGN(4); } >FLASH
  .rodata : { . = ALIGN(4); *(.rodata) *(.rodata*) . = ALIGN(4); } >FLASH
  .ARM.extab : { *(.ARM.extab* .gnu.linkonce.armextab.*) } >FLASH
  .ARM : { *(.ARM.exidx*) } >FLASH
  _sidata = LOADADDR(.data);
  .data : { . = ALIGN(4); _sdata = .; *(.data) *(.data*) . = ALIGN(4); _edata = .; } >RAM AT> FLASH
  . = ALIGN(4);
  .bss : { bss_start = .; *(.bss) *(.bss*) *(COMMON) . = ALIGN(4); bss_end = .; } >RAM
}
"""

COPY = """\
    extern unsigned _sidata, _sdata, _edata;
    for (unsigned *to = &_sdata, *from = &_sidata; to < &_edata;)
        *to++ = *from++;
    static volatile int initialised = 42;
    if (initialised != 42)
        leave(98);
    for (unsigned char *p = &bss_start"""


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> NativeArtifact:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no ziglang: pip install hwnas[cross]")
    folder = tmp_path_factory.mktemp("firmware") / "out"
    return compile_onnx(nets.int8_net(), "cortex-m4", folder, cache=kernel_cache)


def flat_image(elf: bytes) -> bytes:
    """What is burnt into flash: stored bytes at their load addresses (objcopy -O binary, cut at the flash's end)."""
    assert elf[:6] == b"\x7fELF\x01\x01"
    start, size, count = struct.unpack_from("<I", elf, 28)[0], *struct.unpack_from("<HH", elf, 42)
    image = bytearray()
    for index in range(count):
        kind, offset, _, address, stored = struct.unpack_from("<5I", elf, start + index * size)
        if kind == 1 and stored and address < 4 << 20:
            image.extend(bytes(max(0, address + stored - len(image))))
            image[address : address + stored] = elf[offset : offset + stored]
    return bytes(image)


@pytest.mark.slow
@pytest.mark.parametrize("net", [nets.int8_net, nets.bi_real_net])
def test_a_flat_image_behind_an_ordinary_linker_script_gives_the_outputs(
    net: Callable[[], onnx.ModelProto], tmp_path: Path, kernel_cache: Path
) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no ziglang: pip install hwnas[cross]")
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("no qemu-system-arm on PATH")
    model = net()
    made = compile_onnx(model, "cortex-m4", tmp_path / "out", cache=kernel_cache)
    filled = microcontroller.STARTUP.format(name="model", NAME="MODEL", alignment=made.manifest["alignment"])
    (tmp_path / "main.c").write_text(filled.replace("    for (unsigned char *p = &bss_start", COPY))
    (tmp_path / "vendor.ld").write_text(SCRIPT)
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4"]
    build = [*zig, "-Os", "-ffreestanding", "-fno-pic", "-I", "out", "main.c", "out/libmodel.a"]
    subprocess.run([*build, "-Wl,--gc-sections", "-Wl,-T,vendor.ld", "-o", "app.elf"], cwd=tmp_path, check=True)
    (tmp_path / "app.bin").write_bytes(flat_image((tmp_path / "app.elf").read_bytes()))
    batch = nets.images(model, 4)
    (tmp_path / "in.bin").write_bytes(batch.tobytes())
    board = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"]
    command = [*board, "-semihosting-config", "enable=on,target=native", "-kernel", "app.bin"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    expected = nets.run_onnx(model, batch)
    found = np.fromfile(tmp_path / "out.bin", np.float32).reshape(expected.shape)
    # sums of floats differ in their last bits (see test_whole_nets)
    np.testing.assert_allclose(found, expected, atol=0 if net is nets.int8_net else 1e-4, rtol=0)


@pytest.mark.slow
def test_no_object_of_the_library_takes_an_address_from_a_table(firmware: NativeArtifact) -> None:
    readelf = shutil.which("readelf") or shutil.which("llvm-readelf")
    if readelf is None:
        pytest.skip("no readelf on PATH")
    shown = subprocess.run([readelf, "-r", firmware.file("libmodel.a")], capture_output=True, text=True, check=True)
    assert "R_ARM_" in shown.stdout and "GOT" not in shown.stdout


@pytest.mark.slow
def test_flash_and_ram_are_what_size_counts(firmware: NativeArtifact) -> None:
    size = next(filter(None, map(shutil.which, ("arm-none-eabi-size", "llvm-size", "size"))), None)
    if size is None:
        pytest.skip("no size on PATH")
    shown = subprocess.run([size, firmware.file("bench.elf")], capture_output=True, text=True, check=True).stdout
    text, data, bss = map(int, shown.splitlines()[1].split()[:3])
    assert firmware.manifest["flash_bytes"] == text + data
    assert firmware.manifest["ram_bytes"] == data + bss
    ends = firmware.input_bytes + firmware.output_bytes
    assert firmware.manifest["ram_bytes"] == pytest.approx(firmware.arena_bytes + ends, abs=64)
    code = firmware.manifest["flash_bytes"] - firmware.constant_bytes
    assert 1_000 < code < 20_000


@pytest.mark.slow
def test_the_emulated_board_agreed_before_the_folder_was_put_in_place(firmware: NativeArtifact) -> None:
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("no qemu-system-arm on PATH")
    found = firmware.manifest["agreement"]
    assert found["ran"] and found["differing"] == 0 and "mps2-an386" in found["how"]
