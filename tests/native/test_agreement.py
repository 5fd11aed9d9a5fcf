"""Every export runs beside ONNX Runtime before it is put in place; one that disagrees is not put there at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from hwnas.cli.main import main
from hwnas.errors import CheckFailed
from hwnas.export.native import agreement, compile, compile_onnx
from hwnas.export.native.program import Program
from hwnas.kernels.target import compiler_targets, parse_target
from tests.native import nets


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (nets.int8_net, "two codes"),
        (nets.squeeze_excite_int8_net, "two codes"),
        (nets.binary_stream_net, "no sums of floats"),
        (nets.fp32_net, "sums of floats"),
        (nets.bi_real_net, "float sums feed signs"),
    ],
)
def test_the_manifest_says_what_agreed(
    net: Callable[[], onnx.ModelProto], said: str, tmp_path: Path, kernel_cache: Path
) -> None:
    made = compile_onnx(net(), "host", tmp_path / "out", cache=kernel_cache)
    found = json.loads((tmp_path / "out" / "manifest.json").read_text())["agreement"]
    assert found == made.manifest["agreement"]
    assert found["ran"] and found["reason"] == "" and said in found["bound"]
    assert found["against"].startswith("onnxruntime ") and "process of its own" in found["how"]
    assert found["samples"] == 16 and found["values"] == 16 * int(np.prod(made.manifest["output"]["shape"]))
    if net not in (nets.fp32_net, nets.bi_real_net):
        assert found["differing"] == 0 == found["largest_difference"]


def _spoilt(change: Callable[[bytearray], None]) -> Callable[..., tuple[Program, object]]:
    """`plan_model` with other constants: what a wrong kernel or a wrong layout would compute."""
    plan = compile.plan_model

    def planned(*arguments: object) -> tuple[Program, object]:
        program, kernels = plan(*arguments)  # type: ignore[arg-type]
        constants = bytearray(program.constants)
        change(constants)
        return replace(program, constants=bytes(constants)), kernels

    return planned


def _one_lane(constants: bytearray) -> None:
    """One byte of 16 in the first quarter (of a float the one with the upper bits of its mantissa)."""
    for place in range(2, len(constants) // 4, 16):
        constants[place] ^= 0x55


@pytest.mark.parametrize("net", [nets.int8_net, nets.fp32_net, nets.bi_real_net, nets.binary_stream_net])
def test_a_model_compiled_wrongly_is_not_exported(
    net: Callable[[], onnx.ModelProto], tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    compile_onnx(net(), "host", folder, cache=kernel_cache)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(compile, "plan_model", _spoilt(_one_lane))
    # some constants are counts and places: spoilt, they end the program
    with pytest.raises(CheckFailed, match=r"disagree|does not run"):
        compile_onnx(net(), "host", folder, cache=kernel_cache)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_bias_that_is_slightly_wrong_is_found_beside_great_inputs(
    tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, wrong, plan = nets.fp32_net(), nets.fp32_net(), compile.plan_model
    biases = {node.input[2] for node in wrong.graph.node if node.op_type == "Conv"}
    for tensor in wrong.graph.initializer:
        if tensor.name in biases:
            changed = onnx.numpy_helper.to_array(tensor) * np.float32(0.98)
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    monkeypatch.setattr(compile, "plan_model", lambda _, *rest: plan(wrong, *rest))
    with pytest.raises(CheckFailed, match="disagree"):
        compile_onnx(model, "host", tmp_path / "out", cache=kernel_cache)


def test_the_command_line_ends_with_1_where_the_outputs_disagree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.onnx").write_bytes(nets.int8_net(8, 8).SerializeToString())
    monkeypatch.setattr(compile, "plan_model", _spoilt(_one_lane))
    command = ["export", str(tmp_path / "net.onnx"), "--format", "native", "--fallback", "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "disagree" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_program_that_dies_is_one_line(tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step reads the unmapped page at address 8."""
    source = compile.emit.source
    fault = "*(volatile int *)8 = 1;"
    monkeypatch.setattr(
        compile.emit, "source", lambda *a: source(*a).replace("    step_0(x, y, work);", f"    {fault}", 1)
    )
    with pytest.raises(CheckFailed, match="SIGSEGV"):
        compile_onnx(nets.int8_net(8, 8), "host", tmp_path / "out", cache=kernel_cache)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_run_here_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line and in the manifest: no emulator is on this PATH, nor has this machine the instructions."""
    host = parse_target("host")
    if host.arch != "x86_64":
        pytest.skip("the newest x86 instructions are looked for")
    target = "x86_64-linux-gnu -mcpu=sapphirerapids -mattr=-prefer-256-bit"
    monkeypatch.setattr("hwnas.kernels.instructions.host_flags", lambda: frozenset(("sse2", "avx2", "fma")))
    (tmp_path / "net.onnx").write_bytes(nets.int8_net(8, 8).SerializeToString())
    command = ["export", str(tmp_path / "net.onnx"), "--format", "native", "--target", target]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert "not compared" in capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "manifest.json").read_text())["agreement"]
    assert not found["ran"] and "this machine lacks" in found["reason"] and found["values"] == 0


@pytest.mark.parametrize("strange", [np.inf, np.nan])
def test_one_infinite_output_does_not_excuse_the_others(strange: float) -> None:
    program, _ = compile.plan_model(nets.fp32_net(), parse_target("host"))
    expected = np.random.default_rng(0).standard_normal((4, 10))
    expected[0, 0] = strange
    of_the_model = agreement.bound_of(program, expected, program.outputs[0])
    for bound in (of_the_model, agreement.Bound(0.0, 1.0, np.inf, 0.03, "as noise")):
        assert agreement._compared(expected.copy(), expected, bound, "", "").ran
        with pytest.raises(CheckFailed, match="disagree"):
            agreement._compared(np.where(np.isfinite(expected), 0.0, expected), expected, bound, "", "")


@pytest.mark.parametrize("share", [0.013, 1.3])
def test_a_gemms_bias_of_a_scale_of_its_own_is_compared_with_what_the_model_means(
    share: float, tmp_path: Path, kernel_cache: Path
) -> None:
    """ONNX Runtime's integer Gemm takes the bias for one of scale input * weight: it is the one that is wrong."""
    made = compile_onnx(nets.gemm_net(bias_scale=share * 0.05 * 0.01), "host", tmp_path / "out", cache=kernel_cache)
    found = made.manifest["agreement"]
    assert found["ran"] and found["differing"] <= 0.01 * found["values"]
    assert found["against"].endswith("without graph optimisations")


def test_an_emulator_that_takes_too_long_is_no_disagreement(
    tmp_path: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    monkeypatch.setattr(agreement, "TIMEOUT_S", 0.001)
    made = compile_onnx(nets.int8_net(8, 8), "wasm32-simd128", tmp_path / "out", cache=kernel_cache)
    assert not made.manifest["agreement"]["ran"] and "did not finish" in made.manifest["agreement"]["reason"]


def test_the_portable_library_is_the_default_on_x86(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = parse_target("host")
    if host.arch != "x86_64" or not host.has_avx2:
        pytest.skip("elsewhere the default is this machine")
    (tmp_path / "net.onnx").write_bytes(nets.int8_net(8, 8).SerializeToString())
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "net.onnx"), "--format", "native", "--out", str(out)]) == 0
    assert "--target host" in capsys.readouterr().err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["target"] == "x86" and manifest["cpu"] == compiler_targets()["x86"].cpu
    assert not any(feature.startswith("avx512") for feature in manifest["features"])
