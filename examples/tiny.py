"""The whole pipeline from public names, on the null device, in seconds: python examples/tiny.py

profile -> tables -> supernet -> search under a limit -> INT8 ONNX -> verify. "local" instead of "null" times for real.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from hwnas.cost import Costing
from hwnas.data import balanced, load_data
from hwnas.device import load_device
from hwnas.export.onnx import save, to_onnx
from hwnas.export.quantise import calibrate, fold
from hwnas.export.verify import tolerance_for, verify
from hwnas.measure.fill import measure_missing
from hwnas.methods.rule.sandwich import Sandwich
from hwnas.methods.search.regularized_evolution import RegularizedEvolution
from hwnas.search import search
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import WeightSharing, extract, recalibrate, resize
from hwnas.table import latency_cost, open_table
from hwnas.train import Schedule, evaluate, train


def main(folder: Path) -> None:
    # 1. Data, a device, and a space of networks for that data.
    data, device = load_data({"use": "digits"}), load_device("null")
    space = resnet_binary(
        data.facts["in_channels"], len(data.classes), resolutions=[8], stem_width=16, stem_stride=1,
        widths=[[16, 32]], depths=[1, 2, 3], strides=[2], kernels=[3, 5], precisions=["int8"],
    )  # fmt: skip

    # 2. Measure every block the space can use, once; the table is the cost of any architecture.
    measure_missing(space.operators(), "onnxruntime", device, folder)
    tables = [open_table(folder, device, "onnxruntime", precision) for precision in ("fp32", "int8")]
    costing = Costing(space, latency_cost(tables))
    bounds = costing.bounds()
    print(f"{space.size} architectures, {bounds.low:.2f} to {bounds.high:.2f} us")

    # 3. Train all of them at once, sharing weights.
    net = WeightSharing(space)
    train(net, Sandwich(space), data, Schedule(epochs=6, batch_size=64, learning_rate=4e-3))

    # 4. Search the most accurate one in the lower half of the range.
    some = data.batch("train", balanced(data, "train", 512, seed=0)).images

    def score(architectures):  # type: ignore[no-untyped-def]
        nets = [recalibrate(extract(net, a), [some]) for a in architectures]
        return np.array([evaluate(one, data, "validation").accuracy for one in nets])

    limit = (bounds.low + bounds.high) / 2
    result = search(space, RegularizedEvolution(space), score, {"latency": costing}, {"latency": limit}, budget=12)
    print(f"pick: {result.pick.accuracy:.1%} at {result.pick.costs['latency']:.2f} us (limit {limit:.2f} us)")

    # 5. Export it as INT8, and let a fresh process without this package check the file on the test images.
    winner = recalibrate(extract(net, result.pick.architecture), [some])
    shape = winner.network.input_shape
    quantised = calibrate(fold(winner.network, winner.arrays()), resize(some[:256], shape).numpy(), weight_bits=7)
    held_out = data.batch("test", slice(None))
    test, labels = resize(held_out.images, shape).numpy(), held_out.labels.numpy()
    save(to_onnx(quantised), folder / "model.int8.onnx")
    checked = verify(folder / "model.int8.onnx", test, labels, quantised(test), tolerance_for(quantised))
    print(f"{checked.accuracy:.1%} on the test images, {checked}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
