"""Kernels are called with the types and sizes that they were built for, on every target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.errors import HwnasError
from hwnas.export.native.fuse import fuse
from hwnas.export.native.graph import read_graph
from hwnas.export.native.lower import lower
from hwnas.kernels.target import parse_target
from tests.native import nets


@pytest.mark.parametrize("target", ["x86-ssse3", "x86-avx512-vnni", "aarch64-i8mm", "riscv64-v", "cortex-m4"])
def test_every_kernel_fits_what_it_is_called_with(target: str) -> None:
    for net in (nets.squeeze_excite_int8_net, nets.fp32_net, nets.bi_real_net):
        calls, _ = lower(fuse(read_graph(net())), parse_target(target))
        assert calls


def test_a_kernel_that_would_take_codes_for_those_of_another_type_is_refused() -> None:
    graph = read_graph(nets.squeeze_excite_int8_net())
    step = next(step for step in graph.steps if step.kind == "global_average_int")
    wrong = replace(graph.values[step.outputs[0]], kind="i8", zero_point=0)
    with pytest.raises(HwnasError, match="the kernel of global_average_int takes"):
        lower(replace(graph, values={**graph.values, wrong.name: wrong}), parse_target("x86-ssse3"))


def test_a_net_planned_again_builds_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search plans thousands of nets of the same kernels; building all of a net's takes five times as long."""
    graph, target = fuse(read_graph(nets.int8_net())), parse_target("x86-avx2")
    first, _ = lower(graph, target)

    def built(*_: object) -> None:
        raise AssertionError("a kernel was built to look at its pointers")

    monkeypatch.setattr("hwnas.kernels.builder.pointers", built)
    again, _ = lower(graph, target)
    assert [call.symbol for call in again] == [call.symbol for call in first]
    assert again[0].build().params, "what is compiled is built when it is asked for"
