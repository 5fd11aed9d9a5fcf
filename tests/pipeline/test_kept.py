"""Kept stages: what decides one is part of its identity, and nothing trained is lost when that changes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.cli.main import main
from hwnas.pipeline import identity
from hwnas.report.results import load_results
from tests.pipeline.runs import run_file
from tests.test_imports import imports_of

RULE = '''
from hwnas.methods.rule.single_path import SinglePath


class Mine(SinglePath):
    """A rule of the user's own."""
'''
SAMPLER = '''
import pick_helper


class Mine:
    """Random architectures."""

    def __init__(self, space, seed=0):
        import numpy as np

        self.space, self.rng = space, np.random.default_rng(seed)

    def ask(self, count):
        return [self.space.random(self.rng) for _ in range(count)]

    def tell(self, architectures, scores):
        pick_helper.nothing()
'''


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, where a user's own modules lie."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def command(*arguments: str) -> int:
    """`hwnas <arguments>` as a fresh process sees the user's modules."""
    for name in ("my_rule", "my_sampler", "pick_helper"):
        sys.modules.pop(name, None)
    return main(list(arguments))


def trained_identity(run: Path) -> Any:
    from hwnas.train import load_state

    return load_state(run / "supernet.pt")["identity"]


def test_an_edited_rule_trains_again_and_the_old_weights_are_kept(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside / "my_rule.py").write_text(RULE)
    path = run_file(beside, train={"epochs": 1, "batch_size": 256, "rule": {"use": "my_rule:Mine"}})
    run = beside / "runs" / "tiny"
    assert command("train", str(path)) == 0
    first, weights = trained_identity(run), (run / "supernet.pt").read_bytes()
    (beside / "my_rule.py").write_text("# a comment changes nothing\n" + RULE)
    assert command("train", str(path)) == 0
    assert (run / "supernet.pt").read_bytes() == weights, "comments and docstrings decide nothing"
    capsys.readouterr()
    (beside / "my_rule.py").write_text(RULE + "    edited = True\n")
    assert command("train", str(path)) == 0
    said = capsys.readouterr().err
    assert "supernet.pt was trained by other code (my_rule.py changed): training again; the old file is kept as" in said
    assert trained_identity(run) != first
    assert (run / "earlier" / f"supernet-{first}.pt").read_bytes() == weights
    (beside / "my_rule.py").write_text(RULE)
    assert command("train", str(path)) == 0
    assert (run / "supernet.pt").read_bytes() == weights, "and going back uses them"
    assert "is used again" in capsys.readouterr().err


def test_changed_settings_and_back_train_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwnas.pipeline import learning

    run = tmp_path / "runs" / "tiny"
    settings = {"batch_size": 256, "rule": {"use": "rule.single_path:SinglePath"}}
    assert main(["train", str(run_file(tmp_path, train={"epochs": 1, **settings}))]) == 0
    first = (run / "supernet.pt").read_bytes()
    assert main(["train", str(run_file(tmp_path, train={"epochs": 2, **settings}))]) == 0
    second = (run / "supernet.pt").read_bytes()
    monkeypatch.setattr(learning, "train", lambda *arguments: pytest.fail("nothing is trained again"))
    assert main(["train", str(run_file(tmp_path, train={"epochs": 1, **settings}))]) == 0
    assert (run / "supernet.pt").read_bytes() == first
    assert main(["train", str(run_file(tmp_path, train={"epochs": 2, **settings}))]) == 0
    assert (run / "supernet.pt").read_bytes() == second != first


def test_an_unfinished_training_of_other_settings_is_kept(tmp_path: Path) -> None:
    from hwnas.train import load_state, save_state

    run, path = tmp_path / "runs" / "tiny", run_file(tmp_path, train={"epochs": 1, "batch_size": 256})
    save_state(run / "checkpoint.pt", {"identity": "f" * 16, "epoch": 7, "net": {}, "optimisers": {}})
    assert main(["train", str(path)]) == 0
    assert load_state(run / "earlier" / f"checkpoint-{'f' * 16}.pt")["epoch"] == 7


def test_an_edited_sampler_searches_again_also_where_a_file_beside_it_was_edited(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside / "my_sampler.py").write_text(SAMPLER)
    (beside / "pick_helper.py").write_text("def nothing():\n    return None\n")
    search = {"budget": 4, "sampler": {"use": "my_sampler:Mine"}, "recalibration_images": 64}
    path = run_file(beside, search=search, train={"epochs": 1, "batch_size": 256})
    kept = beside / "runs" / "tiny" / "search-int8-onnxruntime.json"
    assert command("search", str(path)) == 0
    first = kept.read_text()
    assert command("search", str(path)) == 0
    assert kept.read_text() == first and not list(kept.parent.glob("earlier/search-*"))
    (beside / "pick_helper.py").write_text("def nothing():\n    return 1\n")
    assert command("search", str(path)) == 0
    again = json.loads(kept.read_text())
    assert again["identity"] != json.loads(first)["identity"]
    assert again["code"]["pick_helper.py"] != json.loads(first)["code"]["pick_helper.py"]
    (aside,) = kept.parent.glob("earlier/search-*")
    assert aside.read_text() == first, "the search before is kept"


def test_every_module_that_training_loads_decides_the_weights_or_is_exempt_for_a_reason(repository: Path) -> None:
    exempt = {
        "hwnas.errors": "messages",
        "hwnas.paths": "where and how files are written",
        "hwnas.progress": "the bar",
        "hwnas.protocols": "types alone",
        "hwnas.plug": "finds the rule, whose own code counts",
        "hwnas.find": "finds files, whose own code counts",
        "hwnas.units": "reads limits",
        "hwnas.checkpoint": "reads and writes files",
        "hwnas.tasks": "the task's own code counts",
        "hwnas.data.sources": "what they give is in the data's digest",
        "hwnas.ops.numeric.scales": "integer arithmetic, for the export",
        "hwnas.ops.numeric.bits": "packing, for the export",
        "hwnas.ops.numeric.convolve": "the numpy reference",
        "hwnas.kernels.functions": "numpy's functions, for the export",
        "hwnas.export.onnx_graph": "lowering, for the export",
        "hwnas.fidelity": "space_digest, whose value is in the identity",
        "hwnas.pipeline.job": "passes settings on",
        "hwnas.pipeline.checkpoints": "finds and moves files",
        "hwnas.pipeline.identity": "this very digest",
    }
    decides = set(identity.code_of(identity.TRAINING))
    missing = set()
    for name in identity.code_of(identity.TRAINING, identity.NOT_TRAINING):
        for _, module in imports_of(repository / name):
            if module.startswith("hwnas.") and not any(module == e or module.startswith(e + ".") for e in exempt):
                root = repository.joinpath(*module.split("."))
                file = root / "__init__.py" if root.is_dir() else root.with_suffix(".py")
                if file.is_file() and file.relative_to(repository).as_posix() not in decides:
                    missing.add(module)
    assert not missing, f"add to identity.TRAINING, or exempt here with a reason: {sorted(missing)}"


def test_a_changed_report_or_command_line_retrains_nothing() -> None:
    named = identity.code_of([*identity.TRAINING, *identity.SEARCHING, *identity.EXPORTING, *identity.VERIFYING])
    assert not [name for name in named if name.startswith(("hwnas/report", "hwnas/cli"))]


def test_scores_of_other_weights_are_set_aside_not_overwritten(tmp_path: Path) -> None:
    from hwnas.pipeline.config import read_run_file
    from hwnas.pipeline.job import Job

    job = Job(read_run_file(run_file(tmp_path)))
    job.keep("scores", "one", {"a": 0.5})
    job.keep("scores", "two", {"a": 0.7})
    assert job.kept("scores", "one") == {"a": 0.5} and job.kept("scores", "two") == {"a": 0.7}
    assert job.kept("scores", "three") is None


def job_with(folder: Path, **changes: Any) -> Any:
    from hwnas.pipeline.config import read_run_file
    from hwnas.pipeline.job import Job

    return Job(read_run_file(run_file(folder, **changes)), progress=False)


@pytest.mark.parametrize("use", ["search.random_search", "search.regularized_evolution", "search.nsga2"])
def test_a_sampler_that_holds_a_random_generator_is_decided_by_its_own_file_not_by_numpy(
    use: str, tmp_path: Path
) -> None:
    from hwnas.pipeline.parts import Parts

    job = job_with(tmp_path, search={"budget": 4, "sampler": {"use": use}})
    code = Parts(job, job.config.targets[0]).code("sampler")
    assert f"hwnas/methods/{use.replace('.', '/')}.py" in code
    assert not [name for name in code if name.startswith("numpy")]


def test_a_search_with_a_limit_that_is_priced_exactly_is_decided_by_what_prices_it(tmp_path: Path) -> None:
    from hwnas.pipeline import searching

    def code(**limits: float) -> dict[str, str]:
        job = job_with(tmp_path, limits=limits)
        return searching._code(job, job.config.targets[0])

    assert not [name for name in code(latency_us=1000.0) if name.startswith("hwnas/export")]
    assert "hwnas/export/onnx.py" in code(latency_us=1000.0, size_kb=500.0)


def test_the_tolerance_that_is_written_beside_a_file_is_decided_by_the_code_that_sets_it() -> None:
    assert "hwnas/export/verify.py" in identity.code_of(identity.EXPORTING, identity.NOT_EXPORTING)


def test_scores_are_decided_by_the_code_that_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwnas.pipeline import learning, scoring
    from hwnas.pipeline.parts import Parts

    job = job_with(tmp_path, train={"epochs": 1, "batch_size": 256})
    net, some, target = learning.train_supernet(job), [job.space.smallest()], job.config.targets[0]
    parts = Parts(job, target, {"net": lambda: net})
    scoring.scorer(job, parts, target)(some)
    first = json.loads(job.path("scores.json").read_text())
    assert scoring.scorer(job, parts, target)(some).tolist() == [next(iter(first["value"].values()))]
    monkeypatch.setattr(scoring, "code_of", lambda names: {"hwnas/pipeline/scoring.py": "edited"})
    scoring.scorer(job, parts, target)(some)
    assert json.loads(job.path("scores.json").read_text())["identity"] != first["identity"]
    assert list(job.path("earlier").glob("scores-*.json"))


def test_two_weight_files_that_say_nothing_of_themselves_are_both_kept(tmp_path: Path) -> None:
    from hwnas.pipeline.checkpoints import settled
    from hwnas.train import load_state, save_state

    job = job_with(tmp_path)
    for number in (1, 2):
        save_state(job.path("supernet.pt"), {"net": {}, "number": number})
        assert settled(job, job.path("supernet.pt"), "a" * 16, {}) is None
    aside = job.path("earlier").glob("supernet-*.pt")
    assert {load_state(path)["number"] for path in aside} == {1, 2}


def test_the_results_of_another_limit_are_kept(tmp_path: Path) -> None:
    from hwnas.pipeline.run import _set_aside_others
    from tests.report.samples import finished

    job, first = job_with(tmp_path), finished()
    path = job.path("results.json")
    for results in (first, first, replace(first, limits=())):
        _set_aside_others(job, results)
        results.save(path)
    (aside,) = job.path("earlier").glob("results-*.json")
    assert load_results(aside) == first and load_results(path).limits == ()
    path.write_text("a note of the user's own")
    _set_aside_others(job, first)
    assert not path.exists() and "a note of the user's own" in {f.read_text() for f in aside.parent.iterdir()}


def test_a_row_that_no_graded_network_used_decides_the_search_as_well(tmp_path: Path) -> None:
    from hwnas.pipeline import searching, tables

    job = job_with(tmp_path)
    target = job.config.targets[0]
    tables.measure(job)
    line = tables.priced(job, "int8", "onnxruntime", tables.grade(job)["int8", "onnxruntime"])
    price, one = line.costs["latency"], job.operators_of("int8")[-1]
    dearer = replace(price, of=lambda operator: price.of(operator) + 5.0 * (operator == one))
    marks = [
        searching._identity(job, target, of, {}, tables.costings(job, "int8", of))
        for of in (line, line, replace(line, costs={**line.costs, "latency": dearer}))
    ]
    assert marks[0] == marks[1] != marks[2]
