"""The folder that is written: its files, its digests, its error codes, and that nothing is written by halves."""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.export.native import NativeArtifact, compile_onnx, load_native, open_artifact
from hwnas.export.verify import RUNNER
from hwnas.kernels.instructions import missing_features
from hwnas.kernels.memory import aligned
from hwnas.kernels.target import parse_target
from tests.native import nets


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path) -> NativeArtifact:
    return compile_onnx(nets.int8_net(), "host", tmp_path_factory.mktemp("artifact") / "out", cache=kernel_cache)


def test_the_folder_holds_the_promised_files_with_their_digests(artifact: NativeArtifact) -> None:
    names = {"model.h", "libmodel.a", "libmodel.so", "example.c", "bench"}
    assert set(artifact.files) == names
    assert {path.name for path in artifact.folder.iterdir()} == names | {"manifest.json"}
    for name, digest in artifact.files.items():
        assert hashlib.sha256(artifact.file(name).read_bytes()).hexdigest() == digest


def test_the_manifest_says_what_the_model_needs(artifact: NativeArtifact) -> None:
    manifest = json.loads((artifact.folder / "manifest.json").read_text())
    assert manifest["input"] == {"shape": [1, 3, 16, 16], "type": "float32"}
    assert manifest["output"]["shape"] == [1, 10]
    assert manifest["planned_bytes"] >= manifest["lower_bound_bytes"] > 0
    assert manifest["macs"] > 100_000
    assert [step["kind"] for step in manifest["steps"]][:2] == ["quantize", "conv_int"]
    assert open_artifact(artifact.folder).arena_bytes == manifest["arena_bytes"]


def test_the_bench_prints_every_sample_and_every_step(artifact: NativeArtifact) -> None:
    printed = subprocess.run(
        [artifact.file("bench"), "7", "2", "--steps", "--loop", "3"], capture_output=True, text=True, check=True
    ).stdout
    found = json.loads(printed)
    assert found["unit"] == "ns" and len(found["samples"]) == 7 and min(found["samples"]) > 0
    assert [len(step["samples"]) for step in found["steps"]] == [7] * len(artifact.manifest["steps"])


@pytest.mark.parametrize("arguments", [["0"], ["5", "-1"], ["5", "1", "--loop", "0"], ["x"]])
def test_the_bench_refuses_counts_that_make_no_sense(artifact: NativeArtifact, arguments: list[str]) -> None:
    finished = subprocess.run([artifact.file("bench"), *arguments], capture_output=True, text=True, check=False)
    assert finished.returncode == 2 and "usage" in finished.stderr


def test_the_example_compiles_against_the_library_and_prints_the_output(
    artifact: NativeArtifact, tmp_path: Path
) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on PATH")
    subprocess.run(
        [
            compiler,
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            artifact.file("example.c"),
            f"-I{artifact.folder}",
            artifact.file("libmodel.a"),
            "-o",
            tmp_path / "example",
        ],
        check=True,
    )
    printed = subprocess.run([tmp_path / "example"], capture_output=True, text=True, check=True).stdout
    sample = (np.arange(3 * 16 * 16) % 7).astype(np.float32) / np.float32(7)
    expected = load_native(artifact.folder)(sample.reshape(1, 3, 16, 16))[0]
    np.testing.assert_allclose([float(line) for line in printed.split()], expected, rtol=1e-5)


def test_the_library_needs_no_other_library(artifact: NativeArtifact) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("no readelf on PATH")
    shown = subprocess.run(
        ["readelf", "-d", "--dyn-syms", "-W", artifact.file("libmodel.so")], capture_output=True, text=True, check=True
    ).stdout
    assert "NEEDED" not in shown
    exported = [line.split()[-1] for line in shown.splitlines() if " GLOBAL " in line and " UND " not in line]
    assert exported and all(name.startswith("model_") for name in exported)


def test_bad_pointers_and_a_small_arena_return_an_error_and_write_nothing(artifact: NativeArtifact) -> None:
    library = ctypes.CDLL(str(artifact.file("libmodel.so")))
    run = library.model_run_sized
    run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_size_t]
    buffers = [aligned(size, 64) for size in (4 * 768, 64, artifact.arena_bytes + 64)]
    for buffer in buffers:
        buffer[:] = 0xAB
    x, y, arena = (buffer.ctypes.data for buffer in buffers)
    size = artifact.arena_bytes
    assert run(x, y, arena, size - 1) == 3
    assert run(x, y, arena + 1, size) == run(x, y + 4, arena, size) == run(x + 4, y, arena, size) == 2
    assert run(None, y, arena, size) == run(x, None, arena, size) == run(x, y, None, size) == 1
    assert all((buffer == 0xAB).all() for buffer in buffers)


def test_a_run_writes_only_its_output_and_its_arena(artifact: NativeArtifact) -> None:
    library = ctypes.CDLL(str(artifact.file("libmodel.so")))
    run = library.model_run
    run.argtypes = [ctypes.c_void_p] * 3
    guard = 4096
    source = aligned(4 * 768, 64)
    output, arena = aligned(64 + 2 * guard, 64), aligned(artifact.arena_bytes + 2 * guard, 64)
    output[:], arena[:] = 0xAB, 0xAB
    assert run(source.ctypes.data, output.ctypes.data + guard, arena.ctypes.data + guard) == 0
    assert (output[:guard] == 0xAB).all() and (output[guard + 40 :] == 0xAB).all()
    assert (arena[:guard] == 0xAB).all() and (arena[guard + artifact.arena_bytes :] == 0xAB).all()


def test_steps_run_one_by_one_give_the_whole_run(artifact: NativeArtifact) -> None:
    native = load_native(artifact.folder)
    batch = nets.images(nets.int8_net(), 1)
    expected = native(batch)
    native._output[:] = 0
    step = native._library.model_step_run
    step.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 3
    count = len(artifact.manifest["steps"])
    assert [step(index, *native._pointers) for index in range(count)] == [0] * count
    assert np.array_equal(native._output.view(np.float32).reshape(expected.shape), expected)
    assert step(count, *native._pointers) == step(-1, *native._pointers) == 4


def test_a_failed_export_leaves_what_was_there(tmp_path: Path, kernel_cache: Path) -> None:
    folder = tmp_path / "out"
    compile_onnx(nets.int8_net(), "host", folder, cache=kernel_cache)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    broken = nets.int8_net()
    broken.graph.node[3].op_type = "Selu"
    with pytest.raises(HwnasError):
        compile_onnx(broken, "host", folder, cache=kernel_cache)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path, kernel_cache: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(HwnasError, match="holds other files"):
        compile_onnx(nets.int8_net(), "host", folder, cache=kernel_cache)
    assert (folder / "thesis.tex").read_text() == "years of work"


def test_exporting_again_gives_the_same_bytes(artifact: NativeArtifact, tmp_path: Path, kernel_cache: Path) -> None:
    again = compile_onnx(nets.int8_net(), "host", tmp_path / "again", cache=kernel_cache)
    assert again.files == artifact.files


def test_a_wrong_target_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="aarch64-dotprod") as caught:
        compile_onnx(nets.int8_net(), "aarch65", tmp_path / "out")
    assert caught.value.nearest
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["my-model", "9lives", ""])
def test_a_name_that_c_cannot_take_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="C identifier"):
        compile_onnx(nets.int8_net(), "host", tmp_path / "out", name)


def test_a_model_can_have_another_name(tmp_path: Path, kernel_cache: Path) -> None:
    made = compile_onnx(nets.int8_net(), "host", tmp_path / "out", "detector", cache=kernel_cache)
    assert {"detector.h", "libdetector.a", "libdetector.so"} <= set(made.files)
    assert load_native(tmp_path / "out")(nets.images(nets.int8_net(), 1)).shape == (1, 10)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="not a native artefact"):
        load_native(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 99}')
    with pytest.raises(HwnasError, match="has schema 99"):
        load_native(tmp_path)


def test_a_library_for_instructions_that_this_machine_lacks_is_refused(
    artifact: NativeArtifact, tmp_path: Path
) -> None:
    folder = tmp_path / "future"
    shutil.copytree(artifact.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    arch = parse_target("host").arch
    assert missing_features(arch, manifest["features"]) == ()
    newest = {"x86_64": ["avx2", "avx512fp16", "avxvnniint8"], "aarch64": ["sve2", "bf16"]}[arch]
    assert missing_features(arch, newest) != ()
    manifest["features"] = newest
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(HwnasError, match="this machine lacks"):
        load_native(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../../tmp/model"),
        ("name", None),
        ("arena_bytes", -1),
        ("arena_bytes", 16),
        ("arena_bytes", 2**62),
        ("arena_bytes", "many"),
        ("alignment", 0),
        ("alignment", 3),
        ("alignment", 1),
        ("input", {"shape": [1, 3, 16], "type": "float32"}),
        ("input", {"shape": [1, 3, 16, -16], "type": "float32"}),
        ("input", {"shape": [2**40, 2**40], "type": "float32"}),
        ("input", {"shape": [1, 3, 16, 16], "type": "uint8"}),
        ("input", {"shape": [1, 3, 16, 16], "type": "object"}),
        ("output", {"shape": [1, 1], "type": "float32"}),
        ("output", None),
        ("output", {"shape": [10], "type": "float32"}),
        ("output", {"shape": [10, 1], "type": "float32"}),
        ("output", {"shape": [1, 10], "type": ["float32"]}),
        ("files", ["libmodel.so"]),
        ("files", {"libmodel.so": "0" * 64}),
        ("files", {"../libmodel.so": "0" * 64}),
        ("files", {}),
        ("schema", "1"),
    ],
)
def test_a_manifest_that_could_make_the_library_write_past_a_buffer_is_refused(
    key: str, value: object, artifact: NativeArtifact, tmp_path: Path
) -> None:
    """Before any of its code runs; in the fresh process that verifies files, too."""
    folder = tmp_path / "edited"
    shutil.copytree(artifact.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {key: value}))
    with pytest.raises(HwnasError):
        load_native(folder)
    np.savez(tmp_path / "samples.npz", images=nets.images(nets.int8_net(), 1))
    command = [sys.executable, "-I", RUNNER, folder, tmp_path / "samples.npz", tmp_path / "outputs.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["error"]


def test_every_missing_key_of_a_manifest_is_one_line(artifact: NativeArtifact, tmp_path: Path) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(artifact.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for key in ("name", "target", "features", "alignment", "input", "output", "arena_bytes", "files", "triple", "cpu"):
        (folder / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != key}))
        with pytest.raises(HwnasError, match=f"{key} must be .*, got nothing"):
            load_native(folder)
    for text in ("", "[]", "null", "[" * 100_000, '{"schema": 1}', "\udcff"):
        (folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(HwnasError):
            load_native(folder)


@pytest.mark.parametrize("name", ["libmodel.so", "libmodel.a", "bench"])
def test_a_file_that_was_changed_emptied_deleted_or_made_a_link_is_refused(
    name: str, artifact: NativeArtifact, tmp_path: Path
) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(artifact.folder, folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(HwnasError, match="not the file that was exported"):
        load_native(folder)
    (folder / name).write_bytes(b"")
    with pytest.raises(HwnasError, match="not the file that was exported"):
        load_native(folder)
    (folder / name).unlink()
    with pytest.raises(HwnasError, match=f"has no file {name}"):
        load_native(folder)
    (folder / name).symlink_to(artifact.file(name))
    with pytest.raises(HwnasError, match=f"has no file {name}"):
        load_native(folder)


def test_a_library_called_from_c_says_where_its_cpu_is_unsupported(tmp_path: Path, kernel_cache: Path) -> None:
    """It returns an error where it died of an illegal instruction before."""
    if parse_target("host").arch != "x86_64" or shutil.which("qemu-x86_64") is None:
        pytest.skip("no qemu-x86_64 on PATH, or another machine")
    made = compile_onnx(nets.int8_net(), "x86", tmp_path / "out", cache=kernel_cache)
    bench = [made.file("bench"), "1", "0"]
    for cpu, code in (("core2duo", 1), ("Nehalem", 1), ("max", 0)):
        done = subprocess.run(["qemu-x86_64", "-cpu", cpu, *bench], capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{cpu}: {done.returncode} {done.stderr}"
        assert ("this CPU lacks instructions" in done.stderr) == bool(code)
    library = ctypes.CDLL(str(made.file("libmodel.so")))
    assert library.model_supported() == (not missing_features("x86_64", parse_target("x86").features))
