"""INT8 accuracy does not depend on how the files of a data set are sorted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hwnas.data import Data, balanced, load_data
from hwnas.export.quantise import calibrate, fold
from hwnas.methods.rule.plain import Plain
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import Net, recalibrate
from hwnas.train import Schedule, evaluate, some_images, train

SPACE = resnet_binary(1, 10, (8,), 16, 1, ((16,), (32,)), (1,), (1, 2), (3,), ("int8",))
SOME = 64


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Data]:
    """The same digits in the same splits, in mixed order and sorted by class."""
    images, labels = load_digits(return_X_y=True)
    images, part = images.reshape(-1, 8, 8).astype(np.uint8), np.random.default_rng(0).integers(0, 3, len(labels))
    folder, made = tmp_path_factory.mktemp("order"), {}
    for name, order in (("mixed", np.arange(len(labels))), ("sorted", np.argsort(labels, kind="stable"))):
        np.savez(folder / f"{name}.npz", images=images[order], labels=labels[order], part=part[order])
        made[name] = load_data({"use": "npz", "path": str(Path(folder) / f"{name}.npz")})
    return made


def test_every_beginning_of_the_draw_holds_all_classes_alike(sets: dict[str, Data]) -> None:
    for data in sets.values():
        labels = data.targets("train")[balanced(data, "train", 300, seed=1)]
        for count in (10, 50, 128, 300):
            assert np.ptp(np.bincount(labels[:count], minlength=10)) <= 1
        assert np.any(labels[:10] != np.sort(labels[:10])), "shuffled within a turn"
        whole = balanced(data, "train", 10_000, seed=1)
        assert np.array_equal(np.sort(whole), np.arange(data.sizes()["train"])), "each image once"
        assert not np.array_equal(whole, balanced(data, "train", 10_000, seed=2))


def test_int8_accuracy_is_the_float_net_s_whether_files_are_mixed_or_sorted_by_class(sets: dict[str, Data]) -> None:
    """With the first 64 training images instead of the draw, the sorted set loses far more than these bounds."""
    net = Net(SPACE.lower(SPACE.largest()))
    train(net, Plain(), sets["mixed"], Schedule(epochs=8, batch_size=64, learning_rate=4e-3))
    found = {}
    for name, data in sets.items():
        recalibrate(net, some_images(data, SOME, seed=0))
        float_accuracy = evaluate(net, data, "test").accuracy
        seen = np.concatenate([images.numpy() for images in some_images(data, SOME, seed=0)])
        test = data.batch("test", slice(None))
        outputs = calibrate(fold(net.network, net.arrays()), seen)(test.images.numpy())
        found[name] = float((outputs.reshape(len(outputs), -1).argmax(1) == test.labels.numpy()).mean())
        assert found[name] >= float_accuracy - 0.01, name
    # Two draws of 64 images out of 600: they differ by what a draw differs by, not by a class that was never seen.
    assert abs(found["mixed"] - found["sorted"]) <= 0.02
