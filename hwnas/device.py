"""Devices by name: the profiles that ship with hwnas or lie in ./devices, and `local`, the machine this runs on."""

from __future__ import annotations

import re
from pathlib import Path

from hwnas.errors import HwnasError, unknown
from hwnas.probe import probe_local
from hwnas.profile import NAME, Cpu, DeviceProfile, Fact, MadeUpCosts, Rates, profile_text, read_profile

__all__ = [
    "Cpu",
    "DeviceProfile",
    "Fact",
    "MadeUpCosts",
    "Rates",
    "list_devices",
    "load_device",
    "named_probe",
    "packaged_folder",
    "probe_local",
    "profile_folders",
    "profile_text",
    "read_profile",
]


def packaged_folder() -> Path:
    """The profiles that ship with hwnas: `hwnas/devices`, in a checkout a link to the repository's `devices/`."""
    return Path(__file__).resolve().parent / "devices"


def profile_folders() -> tuple[Path, ...]:
    """Where names are looked up, first match wins: ./devices, then the packaged profiles."""
    return tuple(dict.fromkeys((Path("devices").resolve(), packaged_folder())))


def list_devices() -> list[str]:
    """Every known name, sorted; `local` is the machine this runs on."""
    return sorted({"local", *(path.stem for folder in profile_folders() for path in folder.glob("*.yaml"))})


def load_device(name_or_path: str | Path) -> DeviceProfile:
    """The profile of a name (`raspberry-pi-5`, `local`) or of a YAML file.

    Raises HwnasError with the nearest name when there is none, or naming file and key when the file is not a profile.
    """
    text = str(name_or_path)
    if text == "local":
        return probe_local()
    if text.endswith((".yaml", ".yml", ".json")) or "/" in text or isinstance(name_or_path, Path):
        return read_profile(Path(name_or_path))
    for folder in profile_folders():
        if (folder / f"{text}.yaml").is_file():
            return read_profile(folder / f"{text}.yaml")
    raise unknown("device", text, list_devices())


def named_probe(name: str) -> DeviceProfile:
    """This machine's profile under a name of its own; HwnasError where the name is none."""
    if not re.fullmatch(NAME, name):
        raise HwnasError(f"a device's name must be lower case letters, digits, '.', '_' and '-', got {name!r}")
    if name in {path.stem for path in packaged_folder().glob("*.yaml")}:
        raise HwnasError(f"{name} is the name of a profile that ships with hwnas", hint="choose another name")
    found = probe_local()
    described = found.description if name == "local" else f"{found.cpu.model.value}, as probed"
    return found.model_copy(update={"name": name, "description": described})
