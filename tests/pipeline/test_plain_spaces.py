"""A space without a choice of precision is of the format that its blocks have."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import HwnasError
from hwnas.pipeline.config import read_run_file
from hwnas.pipeline.job import Job
from tests.pipeline.runs import run_file

SPACE = '''"""plain: a head, and one choice."""
from hwnas.network import Operator
from hwnas.space import Choice, SearchSpace, Slot


def plain(in_channels: int, classes: int, image_size: tuple[int, int]) -> SearchSpace:
    image = (in_channels, *image_size)

    def block(v):
        return Operator.of("conv_bn_act", image, image, "fp32", kernel=v["kernel"], stride=1, activation="relu")

    def head(v):
        return Operator.of("pool_dense", image, (classes,), "fp32", classes=classes)

    slots = (Slot("block", ("kernel",), block), Slot("head", (), head))
    return SearchSpace("plain", (Choice("kernel", (1, 3)),), slots, in_channels, classes)
'''


def test_its_own_precision_is_offered_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(SPACE)
    job = Job(read_run_file(run_file(tmp_path, space={"use": "plain:plain"})))
    space = job.space_of("fp32")
    assert [choice.name for choice in space.choices] == ["kernel"]
    assert job.twin_of(space.largest()) == space.largest()
    with pytest.raises(HwnasError, match="space plain offers no int8 block"):
        job.space_of("int8")
