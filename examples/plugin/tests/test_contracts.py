"""Everything that this package adds keeps the contract of its kind: hwnas's own suites, one line a thing."""

from __future__ import annotations

from dataclasses import replace

from hwnas_example.formats import int6
from hwnas_example.methods.search.hill_climbing import HillClimbing
from hwnas_example.spaces.softsign_net import softsign_net

from hwnas.network import Layer, Operator
from hwnas.testing import contract

LAYER = Layer("softsign", "softsign", ("input",), (5, 6, 7), (5, 6, 7))
BLOCK = {
    precision: Operator.of("conv_softsign", (6, 9, 8), (10, 5, 4), precision, kernel=3, stride=2)
    for precision in ("fp32", "int8", "int6")
}

test_hill_climbing = contract("sampler", HillClimbing)
test_hill_climbing_that_starts_again = contract("sampler", HillClimbing, settings={"restart": 0.9})
test_softsign = contract("layer", {"float": LAYER, "integer": replace(LAYER, precision="int8")})
test_softsign_in_native_libraries = contract("native_operator", "softsign")
test_conv_softsign = contract("block", BLOCK)
test_int6 = contract("format", {"int6": int6.format})
test_softsign_net = contract("space", softsign_net(1, 10, precisions=("fp32", "int8", "int6")))
