"""Every rule of the house and of the imports fails where it is broken: a copy of the sources, each broken once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import test_house as house
from tests import test_imports as imports

KERNELS = (
    "target.py",
    "target_check.py",
    "lut256.py",
)  # what the rules below ask for: reading takes the time
LONG_FUNCTION = 'def long() -> None:\n    """Does nothing."""\n' + "    pass\n" * 60
METHOD = '''"""Broken: a method."""

from __future__ import annotations

import numpy as np

from hwnas.errors import HwnasError


class Broken:
    """Draws at random{said}."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise HwnasError("count must be above 0")

    def shares(self, scores: np.ndarray) -> np.ndarray:
        """{shape}"""
        return scores
'''


def method(said: str = "; HwnasError for a count below 1", shape: str = "Shares (n,) of scores (n,).") -> str:
    return METHOD.format(said=said, shape=shape)


# file; what is written there, after what is there ("": instead of it); the rule that this breaks; what the rule says
BROKEN: tuple[tuple[str, str, Callable[[Path], None], str], ...] = (
    ("hwnas/long.py", '"""A file that is long."""\n' * 401, house.test_no_file_is_longer_than_400_lines, "long.py"),
    ("kernels/wide.py", LONG_FUNCTION, house.test_no_function_is_longer_than_60_lines, "wide.py long"),
    (
        "hwnas/methods/rule/unsaid.py", method(said=""),
        house.test_methods_give_the_shapes_of_their_arrays_and_the_errors_they_raise, "__init__: errors",
    ),
    (
        "hwnas/methods/rule/formless.py", method(shape="Shares of scores (by name, in order)."),
        house.test_methods_give_the_shapes_of_their_arrays_and_the_errors_they_raise, "shares: shapes",
    ),
    ("hwnas/ops/mute.py", '"""Mute."""\n', house.test_every_file_opens_with_a_line_that_says_what_it_is, "mute.py"),
    ("hwnas/ops/utils.py", '"""Some more things."""\n', house.test_the_names_that_say_nothing_are_not_used, "utils.py"),
    ("hwnas/ops/near.py", '"""A near import."""\nfrom . import conv\n', house.test_imports_are_spelt_out, "near.py:2"),
    (
        "hwnas/errors.py", "\ndef late() -> None:\n    from hwnas import paths\n",
        house.test_modules_import_one_another_in_no_circle, "hwnas.errors",
    ),
    (
        "hwnas/export/native/load.py", "",
        house.test_every_late_import_is_argued_and_still_there, "hwnas.export.native.load",
    ),
    (
        "hwnas/protocols.py", '\n\nclass Lawless(Protocol):\n    """What has no law."""\n',
        house.test_every_interface_of_the_protocols_page_argues_for_itself_and_states_its_law, "Lawless",
    ),
    (
        "hwnas/search.py", '\n\nclass Bare(Protocol):\n    """Scores."""\n    def __call__(self) -> np.ndarray: ...\n',
        house.test_interfaces_give_the_shapes_of_the_arrays_that_cross_them, "search.py Bare",
    ),
    ("hwnas/odd.py", '"""A part without a tier."""\n', imports.test_every_part_of_the_package_has_a_tier, "odd"),
    (
        "hwnas/space.py", "\nif TYPE_CHECKING:\n    pass\nelse:\n    import hwnas.pipeline.run\n",
        imports.test_dependencies_run_in_the_order_that_data_flows, "imports hwnas.pipeline.run",
    ),
    (
        "hwnas/train.py", "\nimport hwnas.methods.rule.plain\n",
        imports.test_only_the_pipeline_recipes_and_the_command_line_import_methods, "train.py",
    ),
    (
        "kernels/lut256.py", "\nfrom hwnas.paths import digest\n",
        imports.test_kernels_use_nothing_of_hwnas_but_its_errors_and_its_finder, "imports hwnas.paths",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("house")
    files = [*(repository / "hwnas").rglob("*.py"), *(repository / "kernels" / name for name in KERNELS)]
    for target, file in ((folder / file.relative_to(repository), file) for file in files):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return folder


@pytest.mark.parametrize(("file", "text", "rule", "told"), BROKEN, ids=[rule.__name__ for _, _, rule, _ in BROKEN])
def test_a_rule_that_is_broken_fails_and_says_where(
    file: str, text: str, rule: Callable[[Path], None], told: str, copy: Path
) -> None:
    path = copy / file
    before = path.read_text() if path.exists() else None
    path.write_text(before + text if before and text else text or '"""Nothing is imported late here."""\n')
    try:
        with pytest.raises(AssertionError, match=told.replace(".", r"\.")):
            rule(copy)
    finally:
        path.unlink() if before is None else path.write_text(before)


def test_a_parameter_without_an_annotation_fails(copy: Path) -> None:
    path = copy / "hwnas" / "bare.py"
    for text in ("def f(x) -> int: ...", "def f(): ...", "class A:\n    def f(self, *a) -> None: ..."):
        path.write_text(text + "\n")
        with pytest.raises(AssertionError, match=r"bare\.py"):
            house.test_every_function_is_annotated("hwnas", copy)
    path.unlink()
    house.test_every_function_is_annotated("hwnas", copy)
