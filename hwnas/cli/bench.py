"""Time any ONNX file in every engine: minimum and percentiles, the first run in a fresh process, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli._output import Json, keeping, print_json, results_console
from hwnas.errors import HwnasError
from hwnas.units import readable_us

if TYPE_CHECKING:
    from hwnas.measure.bench import Row

Model = Annotated[Path, typer.Argument(help="The ONNX file.", show_default=False)]
Engines = Annotated[str | None, typer.Option("--engine", help="Engines, a comma between; default: all of the device.")]
DeviceName = Annotated[str, typer.Option("--device", help="A device's name or profile; it must be this machine.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of ONNX Runtime.")]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", help="NAME=1,3,224,224 for an input with free axes; may be repeated.")
]
Layers = Annotated[bool, typer.Option("--layers", help="Also every layer, as the engine fused it.")]


def bench(
    model: Model,
    engine: Engines = None,
    device: DeviceName = "local",
    threads: Threads = 1,
    shape: Shapes = None,
    layers: Layers = False,
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas bench model.onnx
        hwnas bench model.onnx --engine onnxruntime --threads 4 --shape input=8,3,224,224
        hwnas bench model.onnx --layers --json

    All engines are timed in the same interleaved rounds, three loads each; every figure is the median of the loads, and
    n counts its samples. Cold is loading the file and running it once in a fresh process. A run is one call,
    less what Python adds to it. An engine that does not take the model is a row that says why; exit 2 where none does.
    """
    from hwnas.device import load_device
    from hwnas.measure.backend import require_engine
    from hwnas.measure.bench import bench as timed
    from hwnas.measure.bench import record
    from hwnas.measure.onnx_file import parse_shapes

    profile = load_device(device)
    wanted = [name.strip() for name in engine.split(",")] if engine else list(profile.engines)
    for name in wanted:
        require_engine(name)
    with keeping("nothing: a bench ends with its figures", "run it again"):
        rows = timed(model, wanted, profile, tables_folder(), threads, parse_shapes(shape), layers)
    if not any(row.ok for row in rows):
        raise HwnasError("; ".join(f"{row.engine} does not run {model}: {row.reason}" for row in rows))
    if json_output:
        print_json(record(rows, model, profile, threads))
        return
    console = results_console()
    console.print(_table(rows))
    for row in rows:
        if row.note:
            console.print(f"note: {row.engine}: {row.note}")
        if row.layers:
            console.print(_layers_line(row), soft_wrap=True)  # a table's own title would be folded to its width
            console.print(_layers(row))


def tables_folder() -> Path:
    """Where the device's turn is taken and its tile choices are kept: the tables here, else the user's cache."""
    from hwnas.export.native.objects import default_cache

    here = Path("latency_tables")
    return here if here.is_dir() else default_cache().parent / "latency_tables"


def _table(rows: list[Row]) -> object:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("engine", "min", "p50", "p90", "p99", "n", "cold: load", "first run", "version"):
        table.add_column(heading, justify="left" if heading in ("engine", "version") else "right", overflow="fold")
    for row in rows:
        if not row.ok:
            table.add_row(row.engine, *["-"] * 7, f"not run: {row.reason}")
            continue
        figures = (row.min_us, row.p50_us, row.p90_us, row.p99_us)
        shown = ["-" if figure is None else readable_us(figure) for figure in (*figures, row.load_us, row.first_run_us)]
        table.add_row(row.engine, *shown[:4], str(row.samples), *shown[4:], row.version)
    return table


def _layers_line(row: Row) -> str:
    # ONNX Runtime's profiler counts whole microseconds and adds its own to every kernel: shares say more than sums.
    total = readable_us(sum(layer.p50_us for layer in row.layers))
    return f"layers in {row.engine}: they add up to {total}, a whole run takes {readable_us(row.p50_us or 0)}"


def _layers(row: Row) -> object:
    from rich.table import Table

    total = sum(layer.p50_us for layer in row.layers) or 1.0
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "kind", "p50", "share"):
        table.add_column(heading, justify="left" if heading in ("layer", "kind") else "right", overflow="fold")
    for layer in row.layers:
        table.add_row(layer.name, layer.kind, readable_us(layer.p50_us), f"{layer.p50_us / total:.1%}")
    return table
