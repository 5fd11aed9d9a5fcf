"""The direction of dependencies: who may import whom, and what an import must not load."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# In the order data flows. A module imports its own tier and those before it, never a later one.
TIERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "errors",
        "confidence extras find network paths plug progress samples schema units yaml_text",
        "architectures targets profile space table_format",
        "probe",
        "device",
        "calibrate card cost protocols",
        "blocks data formats ops table tasks",
        "export",
        "batches boards checkpoint engines feasible measure processes search supernet train",
        "fidelity methods report spaces testing",
        "pipeline recipes",
        "__main__ cli",
    )
)
MAY_NAME_METHODS = {"methods", "pipeline", "recipes", "cli"}
HEAVY = ("torch", "tvm", "onnxruntime")


def imports_of(file: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import anywhere in the file; `from hwnas import x` counts as hwnas.x.

    What stands under `if TYPE_CHECKING` is no dependency: nothing is loaded.
    """
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"hwnas.{alias.name}" for alias in node.names] if node.module == "hwnas" else [node.module]
            yield from ((node.lineno, name) for name in names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def files(repository: Path) -> dict[Path, str]:
    """Every file of the package with the name of its part: `hwnas/ops/conv.py` -> ops."""
    found = {}
    for file in sorted((repository / "hwnas").rglob("*.py")):
        part = file.relative_to(repository / "hwnas").parts[0].removesuffix(".py")
        if part != "__init__":
            found[file] = part
    return found


def test_every_part_of_the_package_has_a_tier(repository: Path) -> None:
    parts = set(files(repository).values())
    assert parts <= set().union(*TIERS), f"give these a tier: {sorted(parts - set().union(*TIERS))}"


def test_dependencies_run_in_the_order_that_data_flows(repository: Path) -> None:
    tier = {name: i for i, names in enumerate(TIERS) for name in names}
    wrong = [
        f"{file.relative_to(repository)}:{line} ({part}) imports {module}"
        for file, part in files(repository).items()
        for line, module in imports_of(file)
        if module.startswith("hwnas.") and (imported := module.split(".")[1]) in tier and tier[imported] > tier[part]
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_pipeline_recipes_and_the_command_line_import_methods(repository: Path) -> None:
    wrong = [
        f"{file.relative_to(repository)}:{line} imports {module}"
        for file, part in files(repository).items()
        for line, module in imports_of(file)
        if module.startswith("hwnas.methods") and part not in MAY_NAME_METHODS
    ]
    assert not wrong, "\n".join(wrong)


def test_kernels_use_nothing_of_hwnas_but_its_errors_and_its_finder(repository: Path) -> None:
    wrong = [
        f"{file.relative_to(repository)}:{line} imports {module}"
        for file in sorted((repository / "kernels").rglob("*.py"))
        for line, module in imports_of(file)
        if module.split(".")[0] == "hwnas"
        and module not in ("hwnas.errors", "hwnas.find")
        and not module.startswith("hwnas.kernels")
    ]
    assert not wrong, "\n".join(wrong)


def loaded_by(statement: str, folder: Path) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`."""
    script = f"{statement}\nimport sys\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_hwnas_loads_neither_torch_nor_tvm_nor_onnxruntime(repository: Path) -> None:
    assert not loaded_by("import hwnas", repository) & set(HEAVY)


def test_the_frame_of_the_command_line_loads_no_numeric_library(repository: Path) -> None:
    loaded = loaded_by("import hwnas.cli.main as m; m.find_verbs(); m.program(m.find_verbs(), 'run2')", repository)
    assert not loaded & {*HEAVY, "numpy", "onnx"}


@pytest.mark.parametrize(
    "part", ["measure", "table", "fidelity", "export", "ops", "blocks", "spaces", "device", "report"]
)
def test_measuring_never_loads_torch(part: str, repository: Path) -> None:
    modules = sorted((repository / "hwnas" / part).glob("*.py")) or [repository / "hwnas" / f"{part}.py"]
    names = [".".join(file.relative_to(repository).with_suffix("").parts) for file in modules]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    assert "torch" not in loaded_by("import " + ", ".join(names), repository)


RUN_FILE = """
name: tiny
device: "null"
data: {use: digits}
space: {use: resnet_binary, resolutions: [8], stem_width: 8, widths: [[8, 16]], depths: [1, 2], strides: [1]}
limits: {latency_ms: 100}
targets: [{precision: int8, engine: onnxruntime}]
card: {fit: 5, test: 5}
"""


def test_the_measure_command_never_loads_torch(repository: Path, tmp_path: Path) -> None:
    run_file = tmp_path / "run.yaml"
    run_file.write_text(RUN_FILE + f"tables: {tmp_path}/tables\nout: {tmp_path}/runs\n")
    statement = (
        "import contextlib, io\nfrom hwnas.cli.main import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()):\n    assert main(['measure', {str(run_file)!r}]) == 0"
    )
    assert "torch" not in loaded_by(statement, repository)
    assert list((tmp_path / "tables" / "null").glob("*.csv"))
