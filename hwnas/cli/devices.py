"""List, show and probe device profiles."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hwnas.cli._output import Json, print_json, results_console
from hwnas.device import DeviceProfile, list_devices, load_device, named_probe, profile_text

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def devices(context: typer.Context, json_output: Json = False) -> None:
    """Examples:

    \b
        hwnas devices                         the known devices
        hwnas devices show raspberry-pi-5     one profile, every number with its source
        hwnas devices probe > my-board.yaml   this machine
        hwnas devices targets                 the compiler targets

    A profile is one YAML file in devices/ (or in ./devices, or any path): what the device is and which compiler target
    it needs. `local` is this machine, probed anew each time.
    """
    context.obj = json_output
    if context.invoked_subcommand is None:
        list_(context, json_output)


@app.command("list", short_help="Every known device.")
def list_(context: typer.Context, json_output: Json = False) -> None:
    """Examples:

    \b
        hwnas devices list
        hwnas devices list --json

    Every known device with its compiler target.
    """
    profiles = [load_device(name) for name in list_devices()]
    if json_output or context.obj:
        print_json([_summary(profile) for profile in profiles])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "target", "engines", "description"):
        table.add_column(heading, overflow="fold")
    for profile in profiles:
        table.add_row(profile.name, profile.target, ", ".join(profile.engines), profile.description)
    results_console().print(table)


@app.command(short_help="One profile, with its sources.")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A device's name, or the path of a profile.")],
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas devices show pixel-8
        hwnas devices show ./my-board.yaml --json

    One profile: every number with its source.
    """
    _print_profile(load_device(name), json_output or context.obj)


@app.command(short_help="This machine as a profile.")
def probe(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="The profile's name, and that of its tables folder.")] = "local",
    json_output: Json = False,
) -> None:
    """Examples:

    \b
        hwnas devices probe --name my-board > my-board.yaml
        hwnas measure my.yaml --device my-board.yaml
        hwnas devices probe --json

    This machine as a profile file: model, cores, instruction sets, caches, memory, governor, each with its source.
    Copied to another machine with its tables folder, it is searched for there; nothing is timed there.
    """
    profile = named_probe(name)
    if json_output or context.obj:
        _print_profile(profile, json_output=True)
        return
    print(f"# {_advice(profile)}\n{profile_text(profile)}", end="")


@app.command(short_help="Every compiler target.")
def targets(context: typer.Context, json_output: Json = False) -> None:
    """Examples:

    \b
        hwnas devices targets
        hwnas export model.onnx --format native --target cortex-m7

    Every compiler target by the name that a profile's `target` and --target take, with the machines that it is for. Any
    other is given as LLVM's triple and options, for example "aarch64-linux-gnu -mcpu=cortex-a55".
    """
    from hwnas.kernels.target import known_targets, summary

    listed = {name: summary(name) for name in known_targets()}
    if json_output or context.obj:
        print_json([{"name": name, "description": text} for name, text in listed.items()])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "description"):
        table.add_column(heading, overflow="fold")
    for name, text in listed.items():
        table.add_row(name, text)
    results_console().print(table)


def _summary(profile: DeviceProfile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "description": profile.description,
        "target": profile.target,
        "engines": list(profile.engines),
        "digest": profile.digest,
    }


def _print_profile(profile: DeviceProfile, json_output: bool) -> None:
    described = profile.describe() | {"advice": _advice(profile)}
    if json_output:
        print_json(described)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for name, value, source in _lines("", described):
        table.add_row(name, value, source)
    results_console().print(table)


def _advice(profile: DeviceProfile) -> str:
    """What the instruction counts of its kernels say about 1-bit against INT8."""
    from hwnas.kernels.target import parse_target
    from hwnas.kernels.throughput import advice

    return advice(parse_target(profile.target)) or "1-bit layers can be faster than INT8 here: measure both"


def _lines(prefix: str, value: Any) -> list[tuple[str, str, str]]:
    """A nested profile as (dotted key, value, source) lines."""
    if isinstance(value, dict) and set(value) == {"value", "source"}:
        return [(prefix, _text(value["value"]), value["source"])]
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in _lines(f"{prefix}.{key}" if prefix else key, inner)]
    return [(prefix, _text(value), "")]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    return str(value)
