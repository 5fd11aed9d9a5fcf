"""Runs an exported file as it will run when deployed: the ONNX file in its runtime, or the compiled library."""

from __future__ import annotations

from pathlib import Path

from hwnas.device import DeviceProfile
from hwnas.errors import HwnasError
from hwnas.measure.backend import backend_for
from hwnas.measure.harness import Runner
from hwnas.network import Network


def deployed_runner(engine: str, artefact: Path, network: Network, device: DeviceProfile, threads: int = 1) -> Runner:
    """A runner of an exported file: `artefact` is an .onnx file, or the folder of a native library for `tvm`.

    The null device prices `network` instead: nothing runs there. HwnasError where the file does not load.
    """
    if device.connection == "made-up":
        return backend_for(engine, device, threads).network(network, 0)
    if engine == "tvm":
        from hwnas.measure.tvm import LibraryRunner

        return LibraryRunner(artefact)
    from hwnas.measure.onnxruntime import SessionRunner

    try:
        return SessionRunner(Path(artefact).read_bytes(), threads)
    except Exception as problem:  # ONNX Runtime raises many kinds for a damaged file
        raise HwnasError(f"{artefact} does not load in ONNX Runtime: {' '.join(str(problem).split())[:200]}") from None


def deployed_energy(engine: str, runner: Runner, latency_us: float, device: DeviceProfile) -> tuple[float, str] | None:
    """Microjoules of one run of an exported file and where the figure comes from; None where nothing can tell."""
    if device.connection == "made-up":
        return backend_for(engine, device).energy_uj(runner, latency_us)
    from hwnas.measure.energy import rapl_energy_uj

    return rapl_energy_uj(runner, latency_us)
