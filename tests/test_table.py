"""Latency tables: what is written is read back, what is malformed is refused by line and column, nothing is lost."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.card import Calibration, calibration_of, read_card, update_card
from hwnas.device import load_device
from hwnas.errors import HwnasError
from hwnas.network import Network, Node, Operator
from hwnas.table import LatencyTable, Measurement, TableHeader, energy_cost, latency_cost, open_table, table_path
from hwnas.table_format import COLUMNS, attributes_text, parse_attributes

HEADER = TableHeader("board", "0123456789abcdef", "onnxruntime", "int8", 1)
WORDS = st.text(max_size=8)
VALUES = st.integers(-(2**63) + 1, 2**63 - 1) | st.booleans() | WORDS | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[a-z][a-z_]{0,6}\Z", fullmatch=True)


def block(width: int = 24, precision: str = "int8", **attributes: int) -> Operator:
    return Operator.of(
        "conv_bn_act", (3, 32, 32), (width, 16, 16), precision, **({"kernel": 3, "stride": 2} | attributes)
    )


def row(operator: Operator, latency_us: float = 12.5, energy_uj: float | None = None) -> Measurement:
    return Measurement(
        operator,
        "ok",
        latency_us=latency_us,
        p50_us=latency_us * 1.1,
        p90_us=latency_us * 1.3,
        spread=0.004,
        runs=40,
        samples_us=(latency_us, latency_us * 1.1, latency_us * 1.3),
        energy_uj=energy_uj,
        energy_source="" if energy_uj is None else "a wattmeter",
        engine_version="onnxruntime 1.0",
        measured_at="2025-01-01T00:00:00+00:00",
    )


def failed(operator: Operator) -> Measurement:
    return Measurement(operator, "failed", 'HwnasError: no kernel, "really"\nsecond line')


def test_rows_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [row(block(8), 1 / 3), row(block(16), 7.1, energy_uj=3.25), failed(block(24))]
    LatencyTable(path, HEADER).add(rows)
    read = LatencyTable(path)
    assert read.header == HEADER
    assert read.rows[block(8)] == rows[0]
    assert read.rows[block(16)] == rows[1]
    assert read.rows[block(24)].reason == 'HwnasError: no kernel, "really" second line'


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_any_attributes_survive_their_text(attributes: dict[str, int | float | str | bool]) -> None:
    canonical = tuple(sorted(attributes.items()))
    read = parse_attributes(attributes_text(canonical))
    assert read == canonical
    assert [type(value) for _, value in read] == [type(value) for _, value in canonical]


def test_only_operators_without_a_row_are_missing(tmp_path: Path) -> None:
    table = LatencyTable(tmp_path / "t.csv", HEADER)
    table.add([row(block(8)), failed(block(16))])
    wanted = [block(8), block(16), block(24), block(24), block(32, "fp32")]
    assert table.missing(wanted) == [block(24)]
    assert table.missing(wanted, retry_failed=True) == [block(16), block(24)]


def test_a_good_row_stays_and_a_failed_one_gives_way(tmp_path: Path) -> None:
    table = LatencyTable(tmp_path / "t.csv", HEADER)
    table.add([row(block(8), 1.0), failed(block(16))])
    table.add([row(block(8), 2.0), row(block(16), 3.0)])
    assert (table.latency_us(block(8)), table.latency_us(block(16))) == (1.0, 3.0)
    table.add([row(block(8), 2.0)], replace=True)
    assert LatencyTable(table.path).latency_us(block(8)) == 2.0


def versioned(operator: Operator, latency_us: float, version: str) -> Measurement:
    return dataclasses.replace(row(operator, latency_us), engine_version=version)


def test_what_a_new_row_replaces_is_set_aside_by_engine_version_and_never_lost(tmp_path: Path) -> None:
    table = LatencyTable(tmp_path / "t.csv", HEADER)
    old = [versioned(block(8), 1.0, "onnxruntime 1.0"), versioned(block(16), 2.0, "onnxruntime 1.0")]
    table.add(old)
    assert table.stale([block(8), block(24)], "onnxruntime 1.1") == [block(8)]
    for latency, version in ((3.0, "onnxruntime 1.0"), (4.0, "onnxruntime 1.1"), (5.0, "onnxruntime 1.1")):
        table.add([versioned(block(8), latency, version)], replace=True, set_aside=True)
    assert LatencyTable(table.path).latency_us(block(8)) == 5.0
    kept = {path.name: LatencyTable(path).rows for path in (tmp_path / "earlier").glob("*.csv")}
    assert {name: [r.latency_us for r in rows.values()] for name, rows in kept.items()} == {
        "t.onnxruntime-1.0.csv": [1.0],
        "t.onnxruntime-1.0.2.csv": [3.0],
        "t.onnxruntime-1.1.csv": [4.0],
    }
    assert kept["t.onnxruntime-1.0.csv"][block(8)] == old[0]


def test_a_block_that_could_not_be_measured_costs_infinitely_much(tmp_path: Path) -> None:
    table = LatencyTable(tmp_path / "t.csv", HEADER)
    table.add([row(block(8), energy_uj=1.0), failed(block(16))])
    for cost in (latency_cost([table]), energy_cost([table])):
        assert cost(network(block(8), block(16))) == float("inf")
        assert cost(network(block(8))) < float("inf")


def test_a_missing_row_is_refused_with_the_nearest_rows_and_what_to_do(tmp_path: Path) -> None:
    table = LatencyTable(tmp_path / "t.csv", HEADER)
    table.add([row(block(24, kernel=3)), row(block(48, kernel=5)), row(block(40, kernel=3, stride=1))])
    with pytest.raises(HwnasError) as caught:
        table.latency_us(block(24, kernel=5))
    assert caught.value.nearest == ("(3, 32, 32) -> (48, 16, 16)", "kernel=3")
    assert "has no row for conv_bn_act/int8 (3, 32, 32) -> (24, 16, 16) kernel=5 stride=2" in str(caught.value)
    assert "--device board" in str(caught.value)


def test_a_failed_row_is_refused_with_its_reason(tmp_path: Path) -> None:
    table = LatencyTable(tmp_path / "t.csv", HEADER)
    table.add([failed(block(8))])
    with pytest.raises(HwnasError, match="could not be measured: HwnasError: no kernel"):
        table.latency_us(block(8))


def cell(line: str, column: str, value: str) -> str:
    cells = line.split(",")
    cells[COLUMNS.index(column)] = value
    return ",".join(cells)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("latency_us", "fast", "latency_us must be a number, got 'fast'"),
        ("latency_us", "nan", "latency_us must be a finite number above 0, got 'nan'"),
        ("latency_us", "-3.0", "latency_us must be a finite number above 0, got '-3.0'"),
        ("latency_us", "0", "latency_us must be a finite number above 0"),
        ("latency_us", "inf", "latency_us must be a finite number above 0"),
        ("latency_us", "", "latency_us must be given where status is ok"),
        ("p90_us", "1e999", "p90_us must be a finite number"),
        ("samples_us", "1.0 x 2.0", "samples_us must be a number, got 'x'"),
        ("samples_us", "1.0 -2.0", "samples_us must be a finite number above 0"),
        ("runs", "-1", "runs must be a whole number of at least 1"),
        ("runs", "many", "runs must be a whole number"),
        ("runs", "²", "runs must be a whole number"),
        ("runs", "1" * 5000, "runs must be a whole number"),
        ("latency_us", "1_0", "latency_us must be a number"),
        ("latency_us", "１２", "latency_us must be a number"),
        ("attributes", "kernel=" + "[" * 100_000, "attributes is unreadable"),
        ("precision", "int7", "precision must be one of fp32, int8, w1a1, got 'int7'.*nearest: int8"),
        ("precision", "fp32", "precision must be int8 as in the file's header"),
        ("input_shape", "3x0x4", "input_shape is unreadable: must be extents above 0"),
        ("output_shape", "", "output_shape is unreadable"),
        ("attributes", "kernel", "attributes is unreadable: must be name=value pairs"),
        ("attributes", "stride=2 kernel=3", "attributes is unreadable: names must be sorted"),
        ("status", "fine", "status must be ok or failed, got 'fine'"),
        ("energy_uj", "3.0", "energy_source must say where"),
        ("kind", "", "kind must name a block"),
    ],
)
def test_a_malformed_cell_is_refused_by_line_and_column_and_the_file_is_kept(
    tmp_path: Path, column: str, value: str, message: str
) -> None:
    path = tmp_path / "t.csv"
    LatencyTable(path, HEADER).add([row(block(8)), row(block(16))])
    lines = path.read_text().splitlines()
    lines[3] = cell(lines[3], column, value)
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    with pytest.raises(HwnasError, match=message) as caught:
        LatencyTable(path, HEADER).add([row(block(24))])
    assert "t.csv:4: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) - 30], r"t.csv:4: the last line is torn"),
        (lambda text: text[: len(text) // 2] + "\n", r"t.csv:\d: "),
        (lambda text: text.replace("schema=1", "schema=9"), "t.csv:1: schema must be 1, got '9'"),
        (
            lambda text: text.replace("precision=int8 threads", "precision=int9 threads"),
            "t.csv:1: precision must be one of",
        ),
        (lambda text: text.replace("threads=1", "threads=none"), "t.csv:1: threads must be"),
        (lambda text: text.replace("threads=1", "threads=²"), "t.csv:1: threads must be"),
        (lambda text: text.replace("digest=", "digets="), "t.csv:1: the header must give digest="),
        (lambda text: text.partition("\n")[2], "t.csv:1: a latency table starts with"),
        (lambda text: text.replace("kind,precision", "kind,precisoin"), "t.csv:2: the columns must be .*precisoin"),
        (lambda text: text.partition("\n")[0] + "\n", "t.csv:2: the line of column names is missing"),
        (lambda text: text + text.splitlines()[-1] + "\n", "t.csv:5: .*already has a row, line 4"),
        (lambda text: text + "a,b,c\n", "t.csv:5: the line is torn: it has 3 of"),
        (lambda text: text + '"open quote\n', "t.csv:5: not a CSV line|t.csv:5: the line is torn"),
        (lambda text: "", "t.csv:1: "),
    ],
)
def test_a_damaged_file_is_refused_by_line(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "t.csv"
    LatencyTable(path, HEADER).add([row(block(8)), row(block(16))])
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises(HwnasError, match=message):
        LatencyTable(path)


def test_a_table_of_another_device_digest_or_threads_is_not_mixed(tmp_path: Path) -> None:
    LatencyTable(tmp_path / "t.csv", HEADER).add([row(block(8))])
    other = TableHeader("board", "ffffffffffffffff", "onnxruntime", "int8", 2)
    with pytest.raises(
        HwnasError, match="measured with digest 0123456789abcdef, not ffffffffffffffff; threads 1, not 2"
    ):
        LatencyTable(tmp_path / "t.csv", other)


def test_there_is_no_table_where_nothing_was_measured(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="there is no latency table"):
        LatencyTable(tmp_path / "t.csv")


ADDER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_table import HEADER, LatencyTable, block, row
first = int(sys.argv[1])
for width in range(first, first + 20):
    LatencyTable(Path(sys.argv[2]), HEADER).add([row(block(width), float(width))])
    print(width, flush=True)
"""


def adder(path: Path, first: int) -> subprocess.Popen[str]:
    program = ADDER.format(tests=str(Path(__file__).parent))
    return subprocess.Popen([sys.executable, "-c", program, str(first), str(path)], stdout=subprocess.PIPE, text=True)


def test_two_processes_on_one_table_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "board" / "t.csv"
    adders = [adder(path, first) for first in (1, 101)]
    assert [process.wait() for process in adders] == [0, 0]
    for process in adders:
        assert process.stdout is not None
        process.stdout.close()
    rows = LatencyTable(path).rows
    assert {operator.output_shape[0] for operator in rows} == {*range(1, 21), *range(101, 121)}


def test_a_process_killed_while_it_adds_leaves_a_whole_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for attempt in range(3):
        process = adder(path, 1 + 100 * attempt)
        assert process.stdout is not None
        for _ in range(2 + attempt):
            process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        assert len(LatencyTable(path)) >= 2 * (attempt + 1)
    LatencyTable(path, HEADER).add([row(block(999))])
    assert block(999) in LatencyTable(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(HwnasError, match="cannot write"):
        LatencyTable(tmp_path / "t.csv", HEADER).add([row(block(8))])
    tmp_path.chmod(0o700)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "board").write_text("")
    with pytest.raises(HwnasError, match=r"cannot (write|read)"):
        LatencyTable(tmp_path / "board" / "t.csv", HEADER).add([row(block(8))])


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    """A file size limit stands in for the full disk: the write of the new table stops half-way."""
    path = tmp_path / "t.csv"
    LatencyTable(path, HEADER).add([row(block(8))])
    before = path.read_bytes()
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 20}, {len(before) + 20}))\n"
        + ADDER.format(tests=str(Path(__file__).parent))
    )
    done = subprocess.run([sys.executable, "-c", program, "20", str(path)], capture_output=True, text=True, check=False)
    assert "HwnasError: cannot write" in done.stderr
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def network(*operators: Operator) -> Network:
    """Operators side by side, each with an input and an output of its own."""
    nodes = tuple(Node(str(i), operator, (f"x{i}",)) for i, operator in enumerate(operators))
    inputs = {node.inputs[0]: node.operator.inputs[0] for node in nodes}
    return Network(inputs, nodes, tuple(node.name for node in nodes))


def test_latency_sums_the_rows_of_each_precision_and_calibrates(tmp_path: Path) -> None:
    int8 = LatencyTable(tmp_path / "int8.csv", HEADER)
    int8.add([row(block(8), 10.0), row(block(16), 20.0)])
    fp32 = LatencyTable(tmp_path / "fp32.csv", TableHeader("board", "0123456789abcdef", "onnxruntime", "fp32", 1))
    fp32.add([row(block(8, "fp32"), 40.0)])
    net = network(block(8), block(16), block(8, "fp32"))
    assert latency_cost([int8, fp32])(net) == 70.0
    assert latency_cost([int8, fp32], Calibration(0.5, 3.0, 2.0))(net) == 0.5 * (70.0 + 3 * 2.0) + 3.0
    with pytest.raises(HwnasError, match="no fp32 table was given"):
        latency_cost([int8])(net)
    with pytest.raises(HwnasError, match="two tables of one precision"):
        latency_cost([int8, int8])


def test_energy_is_there_for_every_row_or_refused(tmp_path: Path) -> None:
    table = LatencyTable(tmp_path / "t.csv", HEADER)
    table.add([row(block(8), energy_uj=2.5), row(block(16), energy_uj=4.0)])
    assert energy_cost([table])(network(block(8), block(16), block(8))) == 9.0
    table.add([row(block(24))])
    with pytest.raises(HwnasError, match="has no energy for conv_bn_act"):
        energy_cost([table])


def test_the_null_devices_table_lies_in_its_folder(tmp_path: Path) -> None:
    device = load_device("null")
    assert table_path(tmp_path, device, "tvm", "w1a1") == tmp_path / "null" / "tvm-w1a1.csv"
    assert open_table(tmp_path, device, "tvm", "w1a1").header.digest == device.digest


def test_a_card_keeps_what_others_wrote_and_refuses_another_schema(tmp_path: Path) -> None:
    path, device = tmp_path / "card.json", load_device("null")
    update_card(path, device, "tables", "a", {"rows": 1})
    update_card(path, device, "networks", "b", {"mape": 0.01})
    update_card(path, device, "tables", "c", {"rows": 2})
    card = read_card(path)
    assert card["tables"] == {"a": {"rows": 1}, "c": {"rows": 2}}
    assert card["networks"] == {"b": {"mape": 0.01}}
    path.write_text('{"schema": 7}')
    with pytest.raises(HwnasError, match="schema must be 1"):
        read_card(path)
    path.write_text('{"schema": ')
    with pytest.raises(HwnasError, match="not readable JSON"):
        update_card(path, device, "tables", "a", {})


@pytest.mark.parametrize(
    "fit", [None, {"slope": 0.0, "intercept_us": 1, "per_operator_us": 1}, {"slope": 1.0}, {"slope": "1"}]
)
def test_a_calibration_that_is_not_one_is_refused(fit: object) -> None:
    with pytest.raises(HwnasError, match="calibration must give"):
        calibration_of({"calibration": fit})
