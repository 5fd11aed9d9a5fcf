"""Predicted against measured latency of random networks, beside the noise floor and a FLOPs-only fit, on this machine.

    python benchmarks/table_fidelity.py            a table
    python benchmarks/table_fidelity.py --json     the bars as JSON

For each engine and precision: every block that 50 random networks use is measured into a fresh table; 20 networks fit
the calibration and 30 others grade it. The FLOPs-only baseline gets the same 20 networks for its own affine fit.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from bars import Bar, arguments, report, versions  # type: ignore[import-not-found]  # the file beside this one

from hwnas.device import load_device
from hwnas.fidelity import NOISE_LIMIT, whole_nets
from hwnas.space import SearchSpace
from hwnas.spaces.mobile import mobile
from hwnas.spaces.resnet_binary import resnet_binary

N_FIT, N_TEST = 20, 30
WITHIN_10 = 0.90  # of the graded networks; nn-Meter reports 0.99 on phones that run nothing else
SPEARMAN = 0.93  # what HELP reaches from 10 measurements of a new device


def space(precision: str) -> SearchSpace:
    """32x32 images; inverted residuals for fp32 and INT8, Bi-Real blocks for 1-bit with their ends in fp32."""
    if precision == "w1a1":
        return resnet_binary(
            3,
            10,
            resolutions=(32,),
            stem_width=32,
            stem_stride=1,
            widths=((32, 48), (64, 96)),
            depths=(1, 2, 3),
            strides=(2, 2),
        ).restrict({"*.b*.precision": ["w1a1"], "stem.precision": ["fp32"], "head.precision": ["fp32"]})
    return mobile(
        3, 10, resolutions=(32,), stem_stride=1, widths=((16, 24), (32, 40)), depths=(1, 2, 3), strides=(2, 2),
        kernels=(3, 5), expansions=(3, 6), squeeze_excite=(False, True), precisions=(precision,),
    ).restrict({"*precision": [precision]})  # fmt: skip


def graded(engine: str, precision: str, tables: Path) -> list[Bar]:
    fidelity = whole_nets(space(precision), engine, load_device("local"), tables, precision, N_FIT, N_TEST)
    figures = fidelity.summary()
    of = f"{engine} {precision}: "
    return [
        Bar(of + "noise floor, same networks timed twice", figures["noise_floor"], NOISE_LIMIT, "at most"),
        Bar(
            of + "mean absolute error (limit: FLOPs only, affine)", figures["mape"], figures["baseline_mape"], "at most"
        ),
        Bar(of + "mean absolute error of the plain sum of rows", figures["raw_mape"]),
        Bar(
            of + "share within 10 % (limit: FLOPs only, at least 0.90)",
            figures["within_10"],
            max(WITHIN_10, figures["baseline_within_10"]),
        ),
        Bar(
            of + "Spearman (limit: FLOPs only, at least 0.93)",
            figures["spearman"],
            max(SPEARMAN, figures["baseline_spearman"]),
        ),
    ]


def bars() -> list[Bar]:
    lines = [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("tvm", "fp32"), ("tvm", "int8"), ("tvm", "w1a1")]
    with tempfile.TemporaryDirectory() as folder:
        return [bar for engine, precision in lines for bar in graded(engine, precision, Path(folder))]


if __name__ == "__main__":
    options = arguments(__doc__.partition("\n")[0])
    sys.exit(report("table_fidelity", bars(), options.json, versions("onnxruntime", "apache-tvm")))
