"""Small trained-looking networks with every precision, for the export tests."""

from __future__ import annotations

import numpy as np

from hwnas import ops
from hwnas.network import Network, Node, Operator

SHAPE = (3, 12, 12)


def network(precision: str, ends: str = "fp32") -> Network:
    """stem, two Bi-Real blocks, an inverted residual and a head; converts where formats meet."""
    plan = [
        ("stem", ("conv_bn_act", SHAPE, (16, 12, 12), ends), {"kernel": 3, "stride": 1, "activation": "relu"}),
        ("b0", ("bireal", (16, 12, 12), (16, 12, 12), precision), {"kernel": 3, "stride": 1}),
        ("b1", ("bireal", (16, 12, 12), (24, 6, 6), precision), {"kernel": 3, "stride": 2}),
        (
            "b2",
            ("inverted_residual", (24, 6, 6), (24, 6, 6), precision),
            {"kernel": 3, "stride": 1, "expansion": 2, "se": True, "activation": "hswish"},
        ),
        ("head", ("pool_dense", (24, 6, 6), (10,), ends), {"classes": 10}),
    ]
    nodes: list[Node] = []
    holds = "fp32"
    for name, (kind, source, result, own), attributes in plan:
        wants = "int8" if own == "int8" else "fp32"
        if wants != holds:
            nodes.append(Node(f"{name}.convert", Operator.of("convert", source, source, wants)))
        nodes.append(Node(name, Operator.of(kind, source, result, own, **attributes)))  # type: ignore[arg-type]
        holds = wants
    if holds == "int8":
        nodes.append(Node("output", Operator.of("convert", (10,), (10,), "fp32")))
    return Network.chain(nodes)


def parameters(net: Network, seed: int = 0) -> dict[str, np.ndarray]:
    """Every parameter and statistic, as after some training: no scale is 1 and no shift is 0."""
    import torch

    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    values = {}
    for node in net:
        for name, value in ops.initial(node.operator, generator).items():
            noise = rng.uniform(-0.2, 0.2, tuple(value.shape)).astype(np.float32)
            values[f"{node.name}.{name}"] = value.numpy() + noise
    return values


def images(count: int, seed: int = 0) -> np.ndarray:
    """Standard normal images (count, *SHAPE)."""
    return np.random.default_rng(seed).standard_normal((count, *SHAPE), dtype=np.float32)
