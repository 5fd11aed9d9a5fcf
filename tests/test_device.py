"""Device profiles: what ships is complete and sourced, and a wrong file is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hwnas.device import DeviceProfile, list_devices, load_device, named_probe, packaged_folder, profile_text
from hwnas.errors import HwnasError
from hwnas.kernels.target import known_targets, parse_target
from hwnas.measure.backend import backend_for, engine_version, why_not_here
from hwnas.probe import differences, pick_target

GOOD = """\
format: 1
name: board
description: a board
connection: none
target: aarch64
engines: [tvm]
cpu:
  model: {value: Some core, source: its datasheet}
  isa: {value: [asimd], source: its datasheet}
  cores: {value: 4, source: its datasheet}
"""
SHIPPED = [
    "jetson-orin-nano",
    "null",
    "pixel-8",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "stm32h7",
    "x86-avx2",
    "x86-avx512",
]


def written(folder: Path, text: str) -> Path:
    path = folder / "board.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_is_valid_and_its_compiler_target_exists(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert device.target in known_targets()
    assert len(device.digest) == 16


def test_every_shipped_profile_is_listed_beside_local() -> None:
    assert {*SHIPPED, "local"} <= set(list_devices())
    assert {path.stem for path in packaged_folder().glob("*.yaml")} == set(SHIPPED)


def test_this_machine_is_probed_and_its_target_compiles_for_it() -> None:
    device = load_device("local")
    assert device.connection == "local"
    assert device.cpu.cores is not None
    assert device.cpu.cores.value >= 1
    assert parse_target(device.target).arch in ("x86_64", "aarch64", "arm", "riscv64")


def test_two_probes_of_one_machine_agree_on_its_digest() -> None:
    assert load_device("local").digest == load_device("local").digest


X86 = "pni ssse3 sse4_1 sse4_2 popcnt"  # as Linux names them
AVX2 = "avx avx2 fma f16c bmi1 bmi2 abm movbe"
AVX512 = "avx512f avx512bw avx512cd avx512dq avx512vl"
VNNI = "avx512ifma avx512vbmi avx512_vbmi2 avx512_vnni avx512_bitalg avx512_vpopcntdq gfni vpclmulqdq"
A76 = "asimddp asimdhp asimdrdm"


@pytest.mark.parametrize(
    ("machine", "flags", "target"),
    [
        ("x86_64", f"{X86} {AVX2}", "x86-avx2"),
        ("x86_64", f"{X86} {AVX2}".replace("bmi2", ""), "x86-ssse3"),
        ("x86_64", f"{X86} {AVX2} {AVX512}", "x86-avx512"),
        ("x86_64", f"{X86} {AVX2} {AVX512} avx512_vnni", "x86-avx512"),
        ("x86_64", f"{X86} {AVX2} {AVX512} {VNNI}", "x86-avx512-vnni"),
        ("x86_64", "sse2", "host"),
        ("aarch64", f"fp asimd {A76}", "aarch64-dotprod"),
        ("aarch64", f"fp asimd {A76} i8mm", "aarch64-i8mm"),
        ("aarch64", "fp asimd i8mm", "aarch64"),
        ("aarch64", "fp asimd", "aarch64"),
        ("riscv64", "i m a f d c v", "riscv64-v"),
        ("riscv64", "i m a f d c", "riscv64"),
        ("armv7l", "neon vfpv3 vfpv4 idiva idivt", "armv7-neon"),
        ("sparc", "", "host"),
    ],
)
def test_the_target_is_the_most_capable_one_whose_features_are_all_there(machine: str, flags: str, target: str) -> None:
    assert pick_target(machine, flags.split()) == target


def test_a_profile_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    assert load_device(written(tmp_path, GOOD)).name == "board"
    assert load_device(str(tmp_path / "board.yaml")).cpu.model.source == "its datasheet"


def test_a_devices_folder_beside_the_user_is_searched_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "devices").mkdir()
    written(tmp_path / "devices", GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_device("board").target == "aarch64"
    assert "board" in list_devices()


def test_the_core_count_does_not_change_the_digest_but_the_instruction_set_does(tmp_path: Path) -> None:
    one = load_device(written(tmp_path, GOOD)).digest
    assert load_device(written(tmp_path, GOOD.replace("value: 4", "value: 8"))).digest == one
    assert load_device(written(tmp_path, GOOD.replace("[asimd]", "[asimd, i8mm]"))).digest != one


def test_an_unknown_device_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(HwnasError, match=r"unknown device .raspbery-pi-5.*nearest: raspberry-pi-5"):
        load_device("raspbery-pi-5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("target:", "targget:"), "unknown key 'targget'; nearest: target"),
        (
            GOOD.replace("cores: {value", "cores: {valeu"),
            r"unknown key 'cpu.cores.valeu'; nearest: value|'cpu.cores.value'",
        ),
        (GOOD.replace("  cores:", "  coers:"), "unknown key 'cpu.coers'; nearest: cores"),
        (GOOD.replace(", source: its datasheet}\n  cores", "}\n  cores"), "key 'cpu.isa.source' must be given"),
        (GOOD.replace("value: 4", "value: four"), "cpu.cores.value: .*got 'four'"),
        (GOOD.replace("value: 4", "value: -4"), "cpu.cores.value: .*got -4"),
        (GOOD.replace("{value: 4, source: its datasheet}", "4"), "cpu.cores: .*got 4"),
        (GOOD.replace("[tvm]", "[tensorflow]"), "engines.0: .*got 'tensorflow'"),
        (GOOD.replace("format: 1", "format: 2"), "format: .*got 2"),
        (GOOD.replace("description: a board\n", ""), "key 'description' must be given"),
        (GOOD.replace("connection: none", "connection: made-up"), "`costs` must be given if, and only if"),
        (GOOD.replace("[asimd]", "[asimd"), r"board.yaml:\d+:\d+ is not valid YAML"),
        ("- a\n- list\n", "must hold a mapping"),
        ("", "must hold a mapping"),
    ],
)
def test_a_wrong_profile_is_refused_naming_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(HwnasError, match=message) as caught:
        load_device(path)
    assert "board.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_profile_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HwnasError, match="not UTF-8"):
        load_device(tmp_path / "x.yaml")
    with pytest.raises(HwnasError, match="does not exist"):
        load_device(tmp_path / "none.yaml")


def test_a_probe_is_a_profile_file_that_loads_as_the_same_device(tmp_path: Path) -> None:
    probed = named_probe("my-board")
    path = tmp_path / "x.yaml"
    path.write_text(profile_text(probed))
    loaded = load_device(path)
    assert loaded == probed and loaded.digest == load_device("local").digest
    assert why_not_here(loaded) is None


def test_what_an_older_version_printed_as_json_is_a_profile_too() -> None:
    assert load_device(Path(__file__).parent / "written_by_7c13fb3" / "probe.json").cpu.model.source == "/proc/cpuinfo"


@pytest.mark.parametrize("name", ["My Board", "../x", "", "raspberry-pi-5"])
def test_a_probe_is_not_named_as_what_ships_or_as_no_folder_can_be(name: str) -> None:
    with pytest.raises(HwnasError, match="name"):
        named_probe(name)


def changed(path: str, value: object) -> DeviceProfile:
    """This machine's profile with one value changed."""
    data = yaml.safe_load(profile_text(named_probe("board")))
    place = data
    *parents, last = path.split(".")
    for key in parents:
        place = place.setdefault(key, {"value": 0, "source": "a datasheet"})
    place[last] = value
    return DeviceProfile.model_validate(data)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("cpu.model.value", "Cortex-A76", "processor .*, not Cortex-A76"),
        ("cpu.isa.value", ["asimd", "i8mm"], "instruction sets without asimd i8mm"),
        ("cpu.l1d_bytes.value", 12345, r"l1d_bytes \d+, not 12345|l1d_bytes unknown, not 12345"),
        ("cpu.l2_bytes.value", 12345, "l2_bytes .*, not 12345"),
        ("cpu.l3_bytes.value", 12345, "l3_bytes .*, not 12345"),
        ("target", "cortex-m7", "compiler target .*, not cortex-m7"),
    ],
)
@pytest.mark.parametrize("engine", ["onnxruntime", "tvm"])
def test_a_profile_of_another_machine_is_not_timed_here_though_it_says_local(
    path: str, value: object, told: str, engine: str
) -> None:
    device = changed(path, value)
    assert engine_version(engine, device) is None
    with pytest.raises(HwnasError, match=f"device board is not this machine, which differs: {told}") as caught:
        backend_for(engine, device)
    assert "hwnas devices probe" in str(caught.value) and "\n" not in str(caught.value)


def test_what_may_change_on_one_machine_is_not_compared() -> None:
    for path in ("cpu.cores.value", "cpu.governor.value", "memory_bytes.value"):
        assert differences(changed(path, "powersave" if "governor" in path else 3)) == []


def test_a_less_capable_target_of_the_same_family_runs_here() -> None:
    targets = {"x86_64": "x86-ssse3", "aarch64": "aarch64"}
    here = load_device("local")
    least = targets.get(parse_target(here.target).arch)
    if least is None or here.target == "host":
        pytest.skip("this machine's family has one target")
    assert differences(changed("target", least)) == []
