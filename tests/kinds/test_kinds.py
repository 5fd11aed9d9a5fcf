"""Every kind of thing is added by one file in a package outside hwnas, and what the file says is what happens.

The table has all nineteen kinds. Files for a search are each used alone, on the null device; those that decide what
ships are used by one run together. The tests beside an axis that show more than that are named here, not written twice.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwnas import ops
from hwnas.cli.main import main
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from hwnas.space import Architecture, SearchSpace
from tests.kinds import files
from tests.pipeline.runs import SETTINGS, run_file, start

SEEDS = 2  # of a batch of one: the search itself scores the cheapest and a random one before it asks
PROXY = {"scorer": {"use": "scorer.proxy"}}  # nothing is trained
TRAIN = {"epochs": 1, "batch_size": 512, "finetune_epochs": 0}


@dataclass(frozen=True)
class Searched:
    """What `hwnas search` wrote."""

    run_file: Path

    @property
    def folder(self) -> Path:
        return self.run_file.parent / "runs" / "tiny"

    @cached_property
    def space(self) -> SearchSpace:
        return Job(read_run_file(self.run_file)).space_of("int8")

    @cached_property
    def pick(self) -> Architecture:
        return Architecture(json.loads((self.folder / "pick-int8-onnxruntime.json").read_text())["architecture"])

    @cached_property
    def scored(self) -> list[tuple[Architecture, float, dict[str, float]]]:
        """(architecture, score, costs) in the order in which they were scored."""
        kept = json.loads((self.folder / "search-int8-onnxruntime.json").read_text())["value"]
        return [(Architecture(t["architecture"]), t["accuracy"], t["costs"]) for t in kept["trials"]]

    def supernet(self) -> dict[str, Any]:
        from hwnas.train import load_state

        found: dict[str, Any] = load_state(self.folder / "supernet.pt")["net"]
        return found


def the_sampler_asked_for_one(found: Searched) -> None:
    last = Architecture({choice.name: choice.options[-1] for choice in found.space.choices})
    assert [one for one, *_ in found.scored[SEEDS:]] == [last]


def the_rule_shrank_all_weights(found: Searched) -> None:
    from hwnas.supernet import WeightSharing

    job = Job(read_run_file(found.run_file))
    before = WeightSharing(job.space, job.config.seed).state_dict()
    size = {name: float(value.square().sum()) for name, value in found.supernet().items()}
    assert size.keys() == before.keys()
    assert all(size[name] < float(value.square().sum()) for name, value in before.items() if value.any())


def the_scorer_counted_nodes(found: Searched) -> None:
    assert len(found.scored) > 1
    assert all(score == 1.0 / (1 + len(list(found.space.lower(one)))) for one, score, _ in found.scored)
    assert len(list(found.space.lower(found.pick))) == min(
        len(list(found.space.lower(one))) for one, *_ in found.scored
    )


def the_predictor_chose_what_is_scored(found: Searched) -> None:
    sums = [int(found.space.live_codes([one]).sum()) for one, *_ in found.scored]
    asked = sums[SEEDS:]
    assert len(asked) == 4 and asked == sorted(asked) and len(set(asked)) > 1


def the_decoder_took_the_smallest(found: Searched) -> None:
    assert found.pick == found.space.smallest()


def the_wrappers_number_was_trained(found: Searched) -> None:
    held = found.supernet()
    assert float(held["scale"]) not in (0.0, 0.5) and sum(name.startswith("net.") for name in held) == len(held) - 1


def the_proxy_counted_parameters(found: Searched) -> None:
    for one, score, _ in found.scored:
        count = sum(ops.parameter_count(node.operator) for node in found.space.lower(one))
        assert score == count / (1 + count)


def the_cost_excluded_what_has_more_convolutions(found: Searched) -> None:
    costs = [held["convolutions"] for *_, held in found.scored]
    assert set(costs) == {2.0}, "a stem and one block; the other depth has three"
    stored = json.loads((found.folder / "search-int8-onnxruntime.json").read_text())["value"]
    assert stored["infeasible"] > 0


@dataclass(frozen=True)
class Shipped:
    """What `hwnas run` wrote of the package with all files that decide what ships."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "tiny"

    @cached_property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run / "results.json").read_text())
        return found

    @cached_property
    def winner(self) -> dict[str, Any]:
        (target,) = self.results["targets"]
        found: dict[str, Any] = next(row for row in target["rows"] if row["role"] == "winner")
        return found

    @property
    def exported(self) -> Path:
        return self.run / "export" / "fp32-tvm"

    @cached_property
    def library(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.exported / "native-fp32" / "manifest.json").read_text())
        return found


def the_space_was_searched(found: Shipped) -> None:
    pick = json.loads((found.run / "pick-fp32-tvm.json").read_text())["architecture"]
    assert set(pick) == {"width", "precision"} and pick["width"] in range(4, 13)


def the_block_has_rows_in_the_table(found: Shipped) -> None:
    rows = list(csv.DictReader((found.folder / "tables" / "plain" / "tvm-fp32.csv").read_text().splitlines()[1:]))
    assert sorted(row["kind"] for row in rows) == ["mirror"] * 9 + ["pool_dense"] * 9
    assert all(row["status"] == "ok" for row in rows)


def the_layer_is_a_node_of_the_model(found: Shipped) -> None:
    import onnx

    assert "Neg" in [node.op_type for node in onnx.load(found.exported / "model.fp32.onnx").graph.node]


def the_task_gave_the_marks(found: Shipped) -> None:
    assert found.results["task"]["metric"] == "marks" and found.results["task"]["unit"] == "points"
    assert 1.0 < found.winner["accuracy"] <= 100.0 and found.results["linear_baseline_accuracy"] > 1.0


def the_data_source_gave_the_classes(found: Shipped) -> None:
    manifest = json.loads((found.exported / "manifest.json").read_text())
    assert manifest["native-fp32"]["output"]["classes"] == ["lying", "standing", "slanting"]
    assert found.results["dataset"]["name"] == "stripes" and found.results["dataset"]["train"] == 90


def the_native_operator_is_a_step_of_the_library(found: Shipped) -> None:
    assert [step["kind"] for step in found.library["steps"]].count("neg_f32") == 1
    assert found.winner["verified"].startswith("ok")


def the_library_is_for_the_target(found: Shipped) -> None:
    assert found.library["target"] == "some-pc"


@dataclass(frozen=True)
class Kind:
    """A file at `axis` in a package, what names it in a run file, and what shows that it was used."""

    axis: str
    name: str = ""
    text: str = ""
    used: Callable[[Any], None] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    shown_by: str = ""  # the test beside the axis that does all this and more

    def write(self, package: Path) -> None:
        folder = package.joinpath(*self.axis.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.py").write_text(self.text)


def _search(**settings: Any) -> dict[str, Any]:
    return {"search": {**SETTINGS["search"], **settings}}


def _train(**settings: Any) -> dict[str, Any]:
    return {"train": {**SETTINGS["train"], **TRAIN, **settings}}


KINDS = {
    "sampler": Kind(
        "methods.search", "last", files.SAMPLER, the_sampler_asked_for_one,
        _search(**PROXY, sampler={"use": "search.last"}, batch=1),
    ),
    "rule": Kind(
        "methods.rule", "shrink", files.RULE, the_rule_shrank_all_weights,
        _train(weight_decay=1e-9, rule={"use": "rule.shrink"}),
    ),
    "scorer": Kind(
        "methods.scorer", "short", files.SCORER, the_scorer_counted_nodes, _search(scorer={"use": "scorer.short"})
    ),
    "predictor": Kind(
        "methods.predictor", "early", files.PREDICTOR, the_predictor_chose_what_is_scored,
        _search(
            **PROXY, sampler={"use": "search.predicted", "initial": 1}, predictor={"use": "predictor.early"}, batch=1
        ),
    ),
    "decoder": Kind(
        "methods.decoder", "least", files.DECODER, the_decoder_took_the_smallest,
        _train() | {"search": {"decoder": {"use": "decoder.least"}, "recalibration_images": 64}},
    ),
    "supernet wrapper": Kind(
        "methods.wrapper", "scaled", files.WRAPPER, the_wrappers_number_was_trained,
        _train(wrapper={"use": "wrapper.scaled", "start": 0.5}),
    ),
    "proxy": Kind(
        "methods.proxy", "held", files.PROXY, the_proxy_counted_parameters,
        _search(**PROXY, proxy={"use": "proxy.held"}),
    ),
    "cost model": Kind(
        "methods.cost", "convolutions", files.COST, the_cost_excluded_what_has_more_convolutions,
        _search(**PROXY) | {"limits": {"latency_us": 1000.0, "convolutions": 2}},
    ),
    "space": Kind("spaces", "mirror_net", files.SPACE, the_space_was_searched, {"space": {"use": "mirror_net"}}),
    "block": Kind("blocks", "mirror", files.BLOCK, the_block_has_rows_in_the_table),
    "layer kind": Kind("ops", "opposite", files.LAYER, the_layer_is_a_node_of_the_model),
    "format": Kind("formats", shown_by="formats/test_a_new_format.py::test_a_run_file_measures_trains_searches_ships"),
    "task": Kind("tasks", "marks", files.TASK, the_task_gave_the_marks, {"task": {"use": "marks"}}),
    "data source": Kind(
        "data.sources", "stripes", files.DATA, the_data_source_gave_the_classes,
        {"data": {"use": "stripes", "count": 50}},
    ),
    "engine": Kind("engines", shown_by="boards/test_a_new_board.py::test_an_engine_of_a_package_is_a_target_of_a_run"),
    "board": Kind("boards", shown_by="boards/test_a_new_board.py::test_a_run_on_a_board_of_a_package_is_timed"),
    "native operator": Kind(
        "export.native.operators", "neg", files.NATIVE_OPERATOR, the_native_operator_is_a_step_of_the_library
    ),
    "compiler target": Kind("targets", "some_pc", files.TARGET, the_library_is_for_the_target),
    "verb": Kind("cli", "greet", files.VERB),
}  # fmt: skip
SEARCHES = [name for name, kind in KINDS.items() if kind.axis.startswith("methods.")]
SHIPPING = [name for name, kind in KINDS.items() if kind.used is not None and name not in SEARCHES]
#: what the core looks up besides: how a target's processor family is linked, and the contract suites themselves
NO_KINDS = {"architectures", "testing.contracts"}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_file_for_the_search_decides_it(name: str, outside: Path, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.write(outside)
    path = run_file(tmp_path, **{**_train(), "plugins": [outside.name], **kind.settings})
    assert main(["search", str(path)]) == 0 and kind.used is not None
    kind.used(Searched(path))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """One run of a package that has all files that decide what ships, in a process of its own."""
    pytest.importorskip("tvm", reason="kernels are compiled with apache-tvm")
    folder = tmp_path_factory.mktemp("kinds")
    package, settings = folder / "outside_of_the_kinds", _train(epochs=8, batch_size=32)
    for name in SHIPPING:
        KINDS[name].write(package)
        settings |= KINDS[name].settings
    (package / "__init__.py").touch()
    null = yaml.safe_load((Path(ops.__file__).parents[1] / "devices" / "null.yaml").read_text())
    (folder / "plain.yaml").write_text(yaml.safe_dump({**null, "name": "plain", "target": "some-pc"}))
    changes = {"device": "plain.yaml", "targets": [{"precision": "fp32", "engine": "tvm"}], "plugins": [package.name]}
    path = run_file(folder, **{**settings, **changes})
    process = start("run", str(path), cwd=folder)
    _, said = process.communicate()
    assert process.returncode == 0, said
    return Shipped(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPING)
def test_a_file_that_decides_what_ships_is_in_what_shipped(name: str, shipped: Shipped) -> None:
    used = KINDS[name].used
    assert used is not None
    used(shipped)


def test_a_verb_runs_and_is_in_the_help(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    KINDS["verb"].write(outside)
    assert main(["greet", "you"]) == 0 and capsys.readouterr().out == "hello you\n"
    assert main(["--help"]) == 0 and "Say hello to somebody." in capsys.readouterr().out


def test_the_table_has_the_nineteen_kinds_and_every_axis_that_the_core_looks_up(repository: Path) -> None:
    assert len(KINDS) == 19
    assert {kind.axis for kind in KINDS.values()} == axes_looked_up(repository) - NO_KINDS


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.shown_by], ids=lambda kind: kind.axis)
def test_a_kind_that_is_shown_elsewhere_is_shown_by_a_test(kind: Kind, repository: Path) -> None:
    file, _, name = kind.shown_by.partition("::")
    tree = ast.parse((repository / "tests" / file).read_text())
    assert [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith(name)]


LOOKS_UP = re.compile(r"find\.(names|has|load|value|file|summary)|resolve|defined")


def axes_looked_up(repository: Path) -> set[str]:
    """The axes that hwnas's own code asks for by name: literal arguments of what looks things up, and every AXIS."""
    found: set[str] = set()
    for file in [*(repository / "hwnas").rglob("*.py"), *(repository / "kernels").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "AXIS":
                found.add(str(ast.literal_eval(node.value)))
            elif isinstance(node, ast.Call) and LOOKS_UP.fullmatch(ast.unparse(node.func)):
                place = 0 if ast.unparse(node.func).startswith("find.") else 1  # after the name that is looked up
                axis = node.args[place] if len(node.args) > place else None
                found |= {str(axis.value)} if isinstance(axis, ast.Constant) else set()
    kinds = {path.name for path in (repository / "hwnas" / "methods").iterdir() if (path / "__init__.py").is_file()}
    return found - {"methods"} | {f"methods.{kind}" for kind in kinds}
