"""The comparison of Auto-DeepLab: how far alpha and beta go, what rivals are, and when a gain is called one."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from hwnas.spaces.auto_deeplab import CELL, cell_name, stride_name

PATH = [4, 8, 8, 4]


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("auto_deeplab")


def found() -> dict[str, Any]:
    strides = {stride_name(i + 1): stride for i, stride in enumerate(PATH)}
    return {**strides, **{cell_name(*edge): "conv_3x3" for edge in CELL}, "precision": "fp32"}


def test_alpha_and_beta_travel_as_far_as_the_settings_say(benchmark: Any) -> None:
    settings = benchmark.SETTINGS
    per_epoch = settings.train // 2 // settings.search_batch_size
    moved = [s for s in range(per_epoch * settings.search_epochs) if s / per_epoch / settings.search_epochs >= 0.5]
    assert settings.search_from == 0.5
    assert settings.architecture_rate * len(moved) == pytest.approx(settings.travel)


def test_rivals_are_fixed_paths_with_the_found_cell_and_a_random_one_with_its_own(benchmark: Any) -> None:
    listed = benchmark.rivals(benchmark.SETTINGS, found(), 0)
    paths = {name: benchmark.path_of(choices, 4) for name, choices in listed.items()}
    assert (
        paths["searched"] == PATH and paths["all at stride 8"] == [8, 8, 8, 8] and paths["hourglass"] == [8, 16, 8, 4]
    )
    cells = {name: [choices[cell_name(*edge)] for edge in CELL] for name, choices in listed.items()}
    assert all(cell == ["conv_3x3"] * 3 for name, cell in cells.items() if name != benchmark.RANDOM)
    facts = {"in_channels": 3, "classes": 6, "image_size": (48, 48)}
    for choices in listed.values():
        assert benchmark.macs_of(benchmark.SETTINGS, facts, choices, 8) > 0


def figures(searched: list[float], fixed: list[float]) -> dict[str, Any]:
    def one(score: float) -> dict[str, Any]:
        return {"mIoU": score, "Dice": score, "macs": 1e6, "width": 8, "path": PATH}

    kept: dict[str, Any] = {"mark": "", "seconds": 60.0, "background": {"mIoU": 0.1, "Dice": 0.1}}
    for i, (a, b) in enumerate(zip(searched, fixed, strict=True)):
        rest = {"all at stride 4": one(b), "hourglass": one(0.2), "random path, random cell": one(a)}
        kept[str(i)] = {"found": found(), "sure": 0.8, "searched": one(a), **rest}
    return kept


def test_a_section_takes_the_place_of_the_older_one_and_headings_keep_a_blank_line_before_them(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = importlib.import_module("inhabitants")
    monkeypatch.setattr(shared, "PAGE", tmp_path / "page.md")
    shared.write_section("## A", "## A\n\nold\n")
    shared.write_section("## B", "## B\n\nb\n")
    for text in ("new", "newer"):
        shared.write_section("## A", f"## A\n\n{text}\n")
    assert shared.PAGE.read_text().partition("\n\n## A")[2] == "\n\nnewer\n\n## B\n\nb\n"


@pytest.mark.parametrize(
    ("searched", "told"),
    [
        ([0.52, 0.53, 0.545], "path **beats** the best fixed one (all at stride 4)"),
        ([0.42, 0.43, 0.445], "path **is beaten by** the best fixed one (all at stride 4)"),
        ([0.42, 0.53, 0.60], "path **is not told apart from** the best fixed one (all at stride 4)"),
    ],
)
def test_a_gain_is_called_one_only_beyond_its_interval(benchmark: Any, searched: list[float], told: str) -> None:
    written = benchmark.page(benchmark.SETTINGS, figures(searched, [0.5, 0.51, 0.52]))
    assert told in written and "is not told apart from the random path with a random cell: +0.0 ± 0.0" in written
    assert "4 8 8 4, conv_3x3 conv_3x3 conv_3x3" in written and "chosen on the path 4 4 4 4" in written
