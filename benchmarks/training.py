"""Our training step beside plain torch's: the same net, weights, optimiser and images, timed in turns.

Ours is all that a step of `hwnas.train.train` does: the batch made from uint8 pixels, the rule `Plain`, the stand-alone
`Net`. The other is what one writes by hand: nn.Conv2d, nn.BatchNorm2d, channels_last, images normalised beforehand and
held in memory as floats. Both take the same first step, to the same loss, before anything is timed.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other are no measure

import numpy as np
import torch
from bars import Bar, arguments, report  # type: ignore[import-not-found]  # the file beside this one
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hwnas.data import Raw, prepare
from hwnas.methods.rule.plain import Plain
from hwnas.network import Layer, Network
from hwnas.spaces.mobile import mobile
from hwnas.spaces.resnet_binary import resnet_binary
from hwnas.supernet import Net, key
from hwnas.train import Schedule, batches, draws, optimisers_of, step

STEPS, BATCH = 15, 64
SAME_LOSS = 1e-3  # two layouts and two orders of float32 sums, of a loss near 2.3
RATIO = 1.15


class PlainNet(nn.Module):
    """The network's layers as torch's own modules, run in order."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.plan: list[tuple[str, tuple[str, ...], nn.Module]] = []
        self.held = nn.ModuleDict()
        last = "input"
        for node in network:
            for layer in node.operator.layers:
                module, name = _module(layer), f"{node.name}/{layer.name}"
                sources = tuple(last if source == "input" else f"{node.name}/{source}" for source in layer.inputs)
                self.held[key(name)] = module
                self.plan.append((name, sources, module))
            last = self.plan[-1][0]

    def forward(self, x: Tensor) -> Tensor:
        values = {"input": x}
        for name, sources, module in self.plan:
            x = values[sources[0]] if len(sources) == 1 else values[sources[0]] + values[sources[1]]
            values[name] = module(x)
        return values[self.plan[-1][0]]


def _module(layer: Layer) -> nn.Module:
    """One layer as torch writes it; a layer of two inputs adds them before."""
    activation: list[nn.Module] = [nn.ReLU()] if layer.activation == "relu" else []
    if layer.kind == "conv":
        conv = nn.Conv2d(layer.in_shape[0], layer.out_shape[0], layer.kernel, layer.stride, layer.kernel // 2,
                         groups=layer.groups, bias=False)  # fmt: skip
        return nn.Sequential(conv, nn.BatchNorm2d(layer.out_shape[0]), *activation)
    if layer.kind == "dense":
        return nn.Sequential(nn.Flatten(), nn.Linear(layer.in_shape[0], layer.out_shape[0]))
    if layer.kind == "add":
        return nn.Sequential(*activation)
    if layer.kind == "avg_pool":
        return nn.AvgPool2d(layer.kernel, layer.stride)
    return {"hswish": nn.Hardswish(), "global_pool": nn.AdaptiveAvgPool2d(1)}[layer.kind]


def copy_weights(plain: PlainNet, net: Net) -> None:
    """Ours into torch's modules."""
    with torch.no_grad():
        for name, module in plain.held.items():
            for part in module.children():
                names = {"weight": "gamma", "bias": "beta"} if isinstance(part, nn.BatchNorm2d) else {}
                for short, parameter in part.named_parameters():
                    ours = net.own[key(f"{name}.{names.get(short, short)}")]
                    parameter.copy_(ours.reshape(parameter.shape))


def ratio_of(network: Network) -> tuple[float, float, float]:
    """(ours / torch's, ours, torch's): medians, in ms a step."""
    shape = network.input_shape
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (1280, *shape[1:], shape[0]), dtype=np.uint8), np.arange(1280) % 10
    data = prepare(Raw("noise", pixels, labels, tuple("0123456789"), layout="NHWC"))
    schedule, rule, net = Schedule(epochs=100, batch_size=BATCH), Plain(), Net(network)
    plain = PlainNet(network)
    copy_weights(plain, net)
    plain = plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ready = data.batch("train", slice(None))
    optimisers = optimisers_of(net, rule, schedule)
    other = torch.optim.AdamW(plain.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    ours = batches(data, draws(data.sizes()["train"], schedule))
    theirs = iter([d.indices for d, _ in zip(draws(data.sizes()["train"], schedule), range(STEPS + 1), strict=False)])

    def our_step() -> float:
        return step(net, rule, next(ours), optimisers, schedule.learning_rate, schedule)

    def their_step() -> float:
        picked = torch.from_numpy(next(theirs))
        other.zero_grad(set_to_none=True)
        loss = cross_entropy(plain(ready.images[picked]), ready.labels[picked])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(plain.parameters(), schedule.clip)
        other.step()
        return float(loss.detach())

    first = our_step(), their_step()
    if abs(first[0] - first[1]) > SAME_LOSS:
        raise AssertionError(f"the two nets are not the same: losses {first}")
    times: list[list[float]] = [[], []]
    for _ in range(STEPS):
        for taken, run in zip(times, (our_step, their_step), strict=True):
            taken.append(_seconds(run))
    mine, yours = (1e3 * statistics.median(taken) for taken in times)
    return mine / yours, mine, yours


def _seconds(run: Callable[[], float]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> int:
    options = arguments(__doc__ or "")
    spaces = {
        "mobile, 3x32x32": mobile(
            3, 10, (32,), 16, 1, ((24,), (40,), (80,)), (2,), (2, 2, 1), (5,), (4,), (False,), ("fp32",)
        ),
        "resnet_binary in fp32, 1x8x8": resnet_binary(
            1, 10, (8,), 32, 2, ((64,), (128,)), (2,), (1, 2), (3,), ("fp32",)
        ),
    }
    found = []
    for name, space in spaces.items():
        ratio, mine, yours = ratio_of(space.lower(space.largest()))
        found += [
            Bar(f"{name}: our step / plain torch's", ratio, RATIO, "at most"),
            Bar(f"{name}: our step, ms", mine),
            Bar(f"{name}: plain torch's step, ms", yours),
        ]
    return report("training", found, options.json)


if __name__ == "__main__":
    sys.exit(main())
