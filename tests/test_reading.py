"""Text from strangers: read whole and bounded, or refused in one line that names the file and the place."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas.errors import HwnasError
from hwnas.network import Operator
from hwnas.ops import primitive_of
from hwnas.paths import read_json, read_text
from hwnas.pipeline.config import read_run_file
from hwnas.schema import validated
from hwnas.table_format import parse_table
from hwnas.units import positive
from hwnas.yaml_text import SIZE_LIMIT, read_yaml

LAUGHS = "a0: &a [x, x]\n" + "".join(f"a{i}: &a{i} [*a, *a, *a]\n" for i in range(1, 30))


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    """A reader that waits for a pipe or reads a device on and on is ended, and fails."""
    signal.alarm(30)
    yield
    signal.alarm(0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3:1 is not valid YAML: key 'a' is given twice"),
        ("outer:\n  a: 1\n  a: 1\n", ":3:3 is not valid YAML: key 'a' is given twice"),
        (LAUGHS, "anchors and aliases are not read"),
        ("a: &a [*a]", "anchors and aliases are not read"),
        ("a: " + "[" * 20_000, "nested more than 32 deep"),
        ("a: " + "{a: " * 500, "nested more than 32 deep"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
        ("a: 2001-13-45", "month must be in"),
        ('a: "x\\0y"', "must not hold NUL"),
        ('a: "\\ud800"', "half a character"),
        ("? [a, b]\n: c", "a key must be a word"),
        ('a: !!python/object/apply:os.system ["true"]', "could not determine a constructor"),
        ("--- 1\n--- 2\n", "found another document"),
    ],
)
def test_yaml_that_is_more_than_plain_values_is_refused_by_its_place(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(HwnasError) as caught:
        read_yaml(path)
    assert told in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    with pytest.raises(HwnasError, match="larger than 1 MiB"):
        read_yaml(path)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop", "missing", "binary"])
def test_what_is_no_text_file_is_refused_and_nothing_waits(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HwnasError, match=r"x\.yaml"):
        read_text(path, 100)


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, "9" * 5000, "NaN", "[Infinity]", "1e999", '{"a": 1, "a": 2}', '{"a": ', ""],
)
def test_json_that_is_not_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(HwnasError, match="is not readable JSON"):
        read_json(tmp_path / "x.json")


def test_a_value_of_another_type_is_not_converted() -> None:
    assert validated(dict[str, int], {"a": 1}, "x.json", "") == {"a": 1}
    with pytest.raises(HwnasError, match=r"x.json: a: input should be a valid integer"):
        validated(dict[str, int], {"a": "1"}, "x.json", "")


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), -1, True, "1"])
def test_a_quantity_is_a_finite_number_above_0(value: object) -> None:
    with pytest.raises(HwnasError, match="limit must be a"):
        positive(value, "limit")


HEADER = "# hwnas latency table schema=1 device=x digest=0 engine=tvm precision=fp32 threads=1\n"
COLUMNS = (
    "kind,precision,input_shape,output_shape,attributes,status,reason,latency_us,p50_us,p90_us,spread,overhead_us,runs,"
    "energy_uj,energy_source,engine_version,measured_at,samples_us\n"
)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("ok,,1.0", "ok,,1.0", ""),
        (",5,,", ",²,,", "runs must be a whole number"),
        (",a=1,", ",a=" + "[" * 50_000 + ",", "attributes is unreadable"),
        (",a=1,", ",a=" + "9" * 400 + ",", "is too large a number"),
        ("8x8", "8x" + "9" * 4000, "must be extents"),
        ("conv,", "../conv,", "kind must name a block"),
        ("threads=1", "threads=²", "threads must be a whole number"),
    ],
)
def test_a_table_with_numbers_that_are_none_is_refused(old: str, new: str, told: str) -> None:
    text = HEADER + COLUMNS + "conv,fp32,8x8,8x8,a=1,ok,,1.0,1.0,1.0,,,5,,,,,\n"
    spoilt = text.replace(old, new, 1)
    if not told:
        assert len(parse_table(Path("t.csv"), spoilt)[1]) == 1
        return
    with pytest.raises(HwnasError, match=told):
        parse_table(Path("t.csv"), spoilt)


@pytest.mark.parametrize("kind", ["antigravity.x", "this", "http.server", "os", "shapes", "../x", "", "a b", "os.path"])
def test_a_kind_from_a_table_imports_nothing(kind: str) -> None:
    before = set(sys.modules)
    with pytest.raises(HwnasError, match="no block named"):
        _ = Operator.of(kind, (1,), (1,)).layers
    with pytest.raises(HwnasError, match="no op named"):
        primitive_of(kind)
    assert {name for name in set(sys.modules) - before if not name.startswith("hwnas.")} == set()


@pytest.mark.parametrize("value", ["os", float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["kernel", "stride", "expansion"])
def test_a_block_from_a_table_with_an_attribute_that_is_no_number_is_refused(name: str, value: float | str) -> None:
    given = {"kernel": 3, "stride": 1, "expansion": 2, "se": False, "activation": "relu", name: value}
    with pytest.raises(HwnasError, match=r"needs a whole|is no inverted_residual"):
        _ = Operator.of("inverted_residual", (8, 4, 4), (8, 4, 4), "fp32", **given).layers


def test_a_run_file_cannot_trust_for_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    good = "name: x\ndata: {}\nspace: {}\nlimits: {latency_us: 1}\ntargets: [{precision: int8, engine: tvm}]\n"
    path.write_text(good)
    assert read_run_file(path, trust=("mine",)).trust.packages == ("mine",)
    for key in ("trust: [os]", "_trust: {packages: [os]}", "packages: [os]", "plugins: ['os.path']"):
        path.write_text(good + key + "\n")
        with pytest.raises(HwnasError, match=r"run\.yaml: "):
            read_run_file(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "brackets"])
def test_a_manifest_that_never_ends_is_refused_and_nothing_waits(kind: str, tmp_path: Path) -> None:
    from hwnas import load_native

    manifest = tmp_path / "manifest.json"
    if kind == "pipe":
        os.mkfifo(manifest)
    elif kind == "device":
        manifest.symlink_to("/dev/zero")
    else:
        manifest.write_text("[" * 200_000)
    with pytest.raises(HwnasError, match=r"manifest\.json is not a native artefact's manifest"):
        load_native(tmp_path)
