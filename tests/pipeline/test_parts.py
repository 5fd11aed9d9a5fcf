"""A run file's scorer, predictor, proxy, cost, decoder and sampler, of hwnas and of a package beside the run file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hwnas.cli.main import main
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from hwnas.pipeline.parts import Parts
from tests.pipeline.runs import run_file

PACKAGE = {
    "methods/search/last.py": """
        '''Last: proposes what the predictor ranks last, of 20 random ones (a test, 2026).'''
        import numpy as np
        class Last:
            def __init__(self, space, predictor, costings, limits, seed=0):
                self.space, self.predictor, self.told = space, predictor, []
                self.rng = np.random.default_rng(seed)
                assert set(limits) <= set(costings) and "areas" in limits
            def ask(self, n):
                drawn = [self.space.random(self.rng) for _ in range(20)]
                if self.told:
                    architectures, scores = zip(*self.told)
                    self.predictor.fit(self.space.live_codes(architectures), np.array(scores))
                    mean, std = self.predictor.predict(self.space.live_codes(drawn))
                    drawn = [drawn[i] for i in np.argsort(mean)]
                return drawn[:n]
            def tell(self, architectures, scores):
                self.told += list(zip(architectures, scores[:, 0]))
    """,
    "methods/scorer/counted.py": """
        '''Counted: a score of the proxy, which must be the one that the run file names (a test, 2026).'''
        import numpy as np
        class Counted:
            def __init__(self, space, proxy, device):
                self.space, self.proxy = space, proxy
                assert device.name == "null"
            def __call__(self, architectures):
                from hwnas.supernet import Net
                return np.array([self.proxy(Net(self.space.lower(a))) for a in architectures])
    """,
    "methods/predictor/mean.py": """
        '''Mean: the mean of what was seen (a test, 2026).'''
        import numpy as np
        class Mean:
            def __init__(self, offset=0.0):
                self.offset = offset
            def fit(self, codes, scores):
                self.mean = scores.mean() + self.offset
            def predict(self, codes):
                return np.full(len(codes), self.mean), np.ones(len(codes))
    """,
    "methods/proxy/weights.py": """
        '''Weights: how many there are, in millions (a test, 2026).'''
        class Weights:
            def __call__(self, net):
                return sum(p.numel() for p in net.parameters()) / 1e6
    """,
    "methods/cost/areas.py": """
        '''Areas: output pixels of all blocks (a test, 2026).'''
        from hwnas.cost import OperatorCost
        UNIT, LIMITS = "px", {"areas": 1.0, "kareas": 1000.0}
        def areas() -> OperatorCost:
            return OperatorCost("areas", UNIT, lambda o: float(o.output_shape[-1]))
    """,
    "methods/decoder/small.py": """
        '''Small: the smallest architecture (a test, 2026).'''
        class Small:
            def decode(self, net, rule, space, evaluate):
                assert evaluate([space.smallest()]).shape == (1, 2)
                return space.smallest()
    """,
}  # fmt: skip


@pytest.fixture
def package(outside: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that adds one method of every kind, and that no environment lists."""
    import textwrap

    monkeypatch.delenv("HWNAS_PLUGINS")
    for name, text in PACKAGE.items():
        path = outside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return outside


def searched(path: Path) -> dict[str, Any]:
    """The kept search of the tiny run's only target."""
    (kept,) = (path.parent / "runs" / "tiny").glob("search-*.json")
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


METHODS: dict[str, Any] = {
    "budget": 6,
    "sampler": {"use": "search.last"},
    "scorer": {"use": "scorer.counted"},
    "predictor": {"use": "predictor.mean", "offset": 0.5},
    "proxy": {"use": "proxy.weights"},
}


def test_a_run_uses_a_sampler_scorer_predictor_proxy_and_cost_of_a_listed_package_and_trains_nothing(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwnas.pipeline import learning

    monkeypatch.setattr(learning, "train", lambda *arguments: pytest.fail("a proxy needs no trained supernet"))
    limits = {"areas": 1000, "latency_us": 1000.0}
    path = run_file(tmp_path, plugins=[package.name], search=METHODS, limits=limits)
    assert main(["search", str(path)]) == 0, capsys.readouterr().err
    printed, found = capsys.readouterr().out, searched(path)
    assert "%" not in printed, "what only ranks is no share"
    pick = found["value"]["pick"]
    assert f" * {pick['accuracy']:.4g} latency=" in printed
    assert pick["costs"]["areas"] <= 1000 and pick["loss"] is None and 0 < pick["accuracy"] < 1
    assert pick["accuracy"] == max(trial["accuracy"] for trial in found["value"]["trials"])
    code = found["code"]
    assert {f"{package.name}/{name}" for name in PACKAGE if "cost" not in name and "decoder" not in name} <= set(code)


def test_methods_that_ask_for_each_other_are_refused_before_anything_is_measured(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = package / "methods" / "predictor" / "mean.py"
    mean.write_text(mean.read_text().replace("offset=0.0", "scorer, net, offset=0.0"))
    counted = package / "methods" / "scorer" / "counted.py"
    counted.write_text(counted.read_text().replace("proxy, device", "proxy, predictor, device"))
    path = run_file(tmp_path, plugins=[package.name], search=METHODS, limits={"areas": 1000})
    assert main(["search", str(path)]) == 2
    said = capsys.readouterr().err
    assert "search.scorer (scorer.counted) asks, by way of predictor, proxy, for a scorer itself" in said
    assert not (tmp_path / "tables").exists()


def test_an_edited_method_of_a_package_searches_again(package: Path, tmp_path: Path) -> None:
    path = run_file(tmp_path, plugins=[package.name], search=METHODS, limits={"areas": 1000})
    first = Parts(job := Job(read_run_file(path)), job.config.targets[0]).code()
    edited = package / "methods" / "predictor" / "mean.py"
    edited.write_text(edited.read_text().replace("np.ones", "2 * np.ones"))
    again = Parts(job, job.config.targets[0]).code()
    assert {name for name in first if first[name] != again[name]} == {f"{package.name}/methods/predictor/mean.py"}


ASKING = """
'Asking: the price of an architecture, times the images (a test, 2026).'
import numpy as np
class Asking:
    def __init__(self, costings, recalibration_images):
        self.costing, self.images = costings["macs"], recalibration_images
    def __call__(self, architectures):
        return self.images * self.costing(architectures)
"""


def test_scores_that_are_kept_are_of_the_prices_and_the_images_that_their_scorer_was_given(
    package: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from hwnas.cost import Costing
    from hwnas.methods.cost.macs import macs
    from hwnas.pipeline import scoring

    (package / "methods" / "scorer" / "asking.py").write_text(ASKING)

    def score(slope: float, images: int) -> float:
        search = {"scorer": {"use": "scorer.asking"}, "recalibration_images": images}
        job = Job(read_run_file(run_file(tmp_path, plugins=[package.name], search=search)), progress=False)
        costing = Costing(job.space, replace(macs(), slope=slope))
        parts = Parts(job, job.config.targets[0], {"costings": lambda: {"macs": costing}})
        return float(scoring.scorer(job, parts, job.config.targets[0])([job.space.smallest()])[0, 0])

    first = score(1.0, 64)
    assert score(2.0, 64) == 2 * first and score(1.0, 32) == first / 2 and score(1.0, 64) == first


def test_a_decoder_stands_instead_of_a_sampler(package: Path, tmp_path: Path) -> None:
    train = {"epochs": 1, "batch_size": 256, "rule": {"use": "rule.single_path"}}
    search = {"decoder": {"use": "decoder.small"}, "recalibration_images": 64}
    path = run_file(tmp_path, plugins=[package.name], search=search, train=train)
    assert main(["search", str(path)]) == 0
    found = searched(path)["value"]
    job = Job(read_run_file(path))
    assert found["pick"]["architecture"] == dict(job.space_of("int8").smallest()) and len(found["trials"]) == 1


def test_what_darts_learnt_is_decoded_by_argmax_from_the_kept_state_alone(tmp_path: Path) -> None:
    from hwnas.train import load_state

    train = {"epochs": 2, "batch_size": 256, "rule": {"use": "rule.darts", "relax": ["*.kernel"], "alpha_rate": 0.1}}
    path = run_file(tmp_path, search={"decoder": {"use": "decoder.argmax"}, "recalibration_images": 64}, train=train)
    assert main(["search", str(path)]) == 0
    alpha = load_state(tmp_path / "runs" / "tiny" / "supernet.pt")["rule"]["alpha"]
    picked = searched(path)["value"]["pick"]["architecture"]
    space = Job(read_run_file(path)).space
    assert alpha and {picked[name] for name in picked if name.endswith("precision")} <= {"int8", "fp32"}
    for name, weights in alpha.items():
        assert picked[name] == space.by_name[name].options[int(weights.argmax())]


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"predictor": {"use": "predictor.ridge"}}, "search.predictor is given, and nothing asks for it"),
        ({"scorer": {"use": "proxy.synflow"}}, "search.scorer (proxy.synflow) is no scorer; hint: known: proxy, val"),
        ({"scorer": {"use": "scorer.prox"}}, "nearest: scorer.proxy"),
        ({"sampler": {"use": "search.predicted", "pol": 3}}, "unknown key 'pol'; nearest: pool"),
        ({"sampler": {"use": "search.predicted", "pool": 0}}, "initial and pool must be at least 1"),
        ({"sampler": {"use": "search.predicted"}, "predictor": {"use": "predictor.ridge", "alpha": -1}}, "alpha must"),
        ({"decoder": {"use": "decoder.argmax"}}, "Sandwich trains no weights of options"),
        ({"decoder": {"use": "decoder.argmax"}, "sampler": {"use": "search.random_search"}}, "instead of a sampler"),
        ({"scorer": {"use": "scorer.proxy", "proxy": {"use": "x"}}}, "unknown key 'proxy'"),
    ],
)
def test_a_wrong_part_is_one_line_before_anything_is_trained(
    search: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(tmp_path, search=search, train={"epochs": 1, "batch_size": 256})
    assert main(["search", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and told in said
    assert not (tmp_path / "runs" / "tiny" / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"mmac": 1}, "unknown limit 'mmac'; nearest: mmacs"),
        ({"macs": 10, "mmacs": 1}, "limited twice"),
        ({"macs": 10}, "no architecture of resnet_binary meets macs <= 10 MACs: the smallest reachable is"),
    ],
)
def test_a_limit_on_macs_is_a_limit_like_any_other(
    limits: dict[str, float], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(run_file(tmp_path, limits=limits))]) == 2
    assert told in capsys.readouterr().err


def test_a_whole_run_under_a_limit_on_macs_says_that_it_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(tmp_path, limits={"kmacs": 500}, train={"epochs": 1, "batch_size": 256, "finetune_epochs": 0})
    assert main(["run", str(path), "--json"]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "runs" / "tiny" / "results.json").read_text())
    assert [(one["name"], one["unit"], one["value"]) for one in results["limits"]] == [("macs", "MACs", 500_000.0)]
    (target,) = results["targets"]
    assert target["rows"][0]["verdicts"] == {"macs": True}
    assert all(trial["costs"]["macs"] <= 500_000 for trial in target["trials"])


def test_a_search_that_was_cut_off_goes_on_from_the_samplers_state(tmp_path: Path) -> None:
    from hwnas.methods.search.predicted import Predicted
    from hwnas.pipeline import searching
    from hwnas.pipeline.run import prepare

    search = {
        "budget": 12,
        "batch": 2,
        "sampler": {"use": "search.predicted", "initial": 3},
        "recalibration_images": 64,
    }
    search |= {"scorer": {"use": "scorer.proxy"}}

    def job(folder: str) -> Job:
        return Job(read_run_file(run_file(tmp_path / folder, search=search)), progress=False)

    whole = job("whole")
    (target,) = whole.config.targets
    undisturbed = searching.search_target(whole, target, prepare(whole)).result
    cut, asked = job("cut"), list[int]()
    fidelities = prepare(cut)

    class Stop(Exception):
        pass

    original = Predicted.ask

    def ask(self: Predicted, n: int) -> Any:
        asked.append(n)
        if len(asked) == 3:
            raise Stop
        return original(self, n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predicted, "ask", ask)
        with pytest.raises(Stop):
            searching.search_target(cut, target, fidelities)
        assert cut.path(f"searching-{target.name}.json").exists()
        asked[:] = [0] * 10
        resumed = searching.search_target(cut, target, fidelities).result
    assert [t.architecture for t in resumed.trials] == [t.architecture for t in undisturbed.trials]
    assert (resumed.proposed, resumed.pick) == (undisturbed.proposed, undisturbed.pick)
    assert not cut.path(f"searching-{target.name}.json").exists()
