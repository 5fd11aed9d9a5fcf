"""Networks as graphs: what a node may read, the walk, liveness, slots that name their inputs, several ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from hwnas import ops
from hwnas.cost import Costing, OperatorCost
from hwnas.errors import HwnasError
from hwnas.export.onnx import to_onnx
from hwnas.export.quantise import calibrate, check_edges, fold, random_net
from hwnas.network import Network, Node, Operator, Port, walk
from hwnas.space import Architecture, Choice, Mix, SearchSpace, Slot
from hwnas.supernet import Net, WeightSharing, extract
from hwnas.table_format import parse_port, port_text
from tests.exact import exact_session

SHAPE = (4, 6, 6)
CONV = Operator.of("conv_bn_act", SHAPE, SHAPE, kernel=3, stride=1, activation="relu")
SUM = Operator.of("sum", (SHAPE, SHAPE), SHAPE)
WIDE = Operator.of("conv_bn_act", SHAPE, (8, 6, 6), kernel=1, stride=1, activation="none")
NARROW = Operator.of("conv_bn_act", (8, 6, 6), SHAPE, kernel=1, stride=1, activation="none")


def diamond() -> Network:
    """x -> a, and from a both b and c; two outputs, c and d (which reads b)."""
    nodes = (
        Node("a", CONV, ("x",)), Node("b", WIDE, ("a",)), Node("c", CONV, ("a",)), Node("d", NARROW, ("b",)),
    )  # fmt: skip
    return Network({"x": Port(SHAPE)}, nodes, ("c", "d"))


def test_a_walk_gives_every_node_what_it_names_and_forgets_after_the_last_reader() -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    def run(node: Node, values: tuple[str, ...]) -> str:
        seen.append((node.name, values))
        return node.name.upper()

    assert walk(diamond(), run, {"x": "X"}) == {"c": "C", "d": "D"}
    assert seen == [("a", ("X",)), ("b", ("A",)), ("c", ("A",)), ("d", ("B",))]
    with pytest.raises(HwnasError, match="input 'x' must be given"):
        walk(diamond(), run, {})


def test_several_outputs_keep_their_names_whichever_node_gives_them() -> None:
    """Where nothing stands in an output's slot the slot before it gives it: a task still finds it by its name."""
    slots = (
        Slot("a", (), lambda v: CONV),
        Slot("first", ("deep",), lambda v: CONV if v["deep"] else None, ("a",)),
        Slot("second", (), lambda v: WIDE, ("a",)),
    )
    space = SearchSpace("named", (Choice("deep", (False, True)),), slots, 4, 2, outputs=("first", "second"))
    shallow, deep = (space.lower(Architecture({"deep": deep})) for deep in (False, True))
    assert shallow.outputs == ("a", "second") and shallow.gives == {"first": "a", "second": "second"}
    assert deep.outputs == ("first", "second") and not deep.called
    net = Net(shallow)
    images = np.ones((2, *SHAPE), np.float32)
    assert list(net(torch.from_numpy(images))) == ["first", "second"]
    quantised = random_net(shallow)
    expected = quantised(images[:1])
    session = exact_session(to_onnx(quantised))
    found = dict(
        zip([out.name for out in session.get_outputs()], session.run(None, {"input": images[:1]}), strict=True)
    )
    for name in ("first", "second"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    with pytest.raises(HwnasError, match="gives one thing twice: first, other"):
        Network(shallow.inputs, shallow.nodes, ("a", "a"), ("first", "other"))


def test_networks_of_the_same_blocks_differ_by_what_the_blocks_read_and_not_by_their_names() -> None:
    def of(names: str, reads: tuple[str, str]) -> Network:
        first, second = names
        nodes = (Node(first, CONV, ("x",)), Node(second, CONV, (reads[0],)), Node("s", SUM, reads))
        return Network({"x": Port(SHAPE)}, nodes, ("s",))

    line, fork = of("ab", ("a", "b")), of("ab", ("x", "b"))
    assert line.operators == fork.operators and line.wiring != fork.wiring
    assert of("pq", ("p", "q")).wiring == line.wiring


@pytest.mark.parametrize(
    ("nodes", "outputs", "told"),
    [
        ((Node("a", CONV, ("y",)),), ("a",), "reads 'y', which does not come before it"),
        ((Node("a", CONV), Node("a", CONV, ("a",))), ("a",), "names 'a' twice"),
        ((Node("a", CONV), Node("b", NARROW, ("a",))), ("b",), r"b reads \(8, 6, 6\) but is given \(4, 6, 6\)"),
        ((Node("a", CONV, ("x", "x")),), ("a",), "reads 2 tensors"),
        ((Node("a", CONV),), ("z",), "gives 'z', which no node is"),
        ((Node("a", CONV),), (), "gives nothing"),
    ],
)
def test_a_graph_that_does_not_fit_together_is_refused_by_name(
    nodes: tuple[Node, ...], outputs: tuple[str, ...], told: str
) -> None:
    with pytest.raises(HwnasError, match=told):
        Network({"x": Port(SHAPE)}, nodes, outputs)


def test_what_waits_for_a_later_reader_counts_as_memory() -> None:
    small, wide = 4 * 4 * 36, 4 * 8 * 36  # bytes of the two shapes
    # While b runs: a and b. While c runs: a, c, and b that waits for d. While d runs: b, d, and c, an output.
    assert ops.network_peak_bytes(diamond()) == max(small + wide, 2 * small + wide, wide + 2 * small)
    chain = Network.chain([("a", CONV), ("b", WIDE), ("c", NARROW)])
    assert ops.network_peak_bytes(chain) == max(ops.peak_bytes(operator) for operator in chain.operators)


def test_a_graph_with_two_outputs_is_one_file_that_computes_what_training_does() -> None:
    import torch

    net = Net(diamond(), seed=3).eval()
    images = np.random.default_rng(0).standard_normal((5, *SHAPE)).astype(np.float32)
    trained = net(torch.from_numpy(images))
    shipped = fold(diamond(), net.arrays())(images)
    model = to_onnx(calibrate(fold(diamond(), net.arrays()), images), batch=None)
    onnx.checker.check_model(model, full_check=True)
    found = dict(zip(("c", "d"), exact_session(model).run(["c", "d"], {"input": images}), strict=True))
    for name in ("c", "d"):
        np.testing.assert_allclose(shipped[name], trained[name].detach().numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[name], shipped[name], rtol=1e-4, atol=1e-5)


def test_integers_meet_reals_only_through_a_conversion_on_every_edge() -> None:
    integer = Operator.of("conv_bn_act", SHAPE, SHAPE, "int8", kernel=3, stride=1, activation="relu")
    into = Operator.of("convert", SHAPE, SHAPE, "int8")
    nodes = (Node("q", into), Node("a", integer, ("q",)), Node("b", integer, ("q",)))
    check_edges(Network({"x": Port(SHAPE)}, nodes, ("a", "b")))
    with pytest.raises(HwnasError, match="b reads uint8 but is given float32"):
        check_edges(Network({"x": Port(SHAPE)}, (*nodes[:2], Node("b", integer, ("x",))), ("a", "b")))
    net = random_net(Network({"x": Port(SHAPE)}, nodes, ("a", "b")), 1)
    images = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
    expected = net(images)
    found = exact_session(to_onnx(net, batch=None)).run(["a", "b"], {"input": images})
    assert all(np.array_equal(one, expected[name]) for name, one in zip(("a", "b"), found, strict=True))


# -- spaces whose slots name their inputs ----------------------------------------------------------------------------


def branching() -> SearchSpace:
    """stem; two branches that share the choice `op`; `tail` reads the branch that `which` picks, or both when soft."""

    def branch(values: Mapping[str, Any]) -> Operator | None:
        return None if values["op"] == "skip" else CONV

    def tail(values: Mapping[str, Any]) -> Operator:
        return CONV

    reads_both = Slot("tail", (), lambda values: CONV, ("left",))
    return SearchSpace(
        "branching",
        (Choice("op", ("skip", "conv")), Choice("which", ("left", "right"))),
        (
            Slot("stem", (), lambda values: CONV),
            Slot("left", ("op",), branch, ("stem",)),
            Slot("right", ("op",), branch, ("stem",)),
            Slot("tail", ("which",), tail, lambda values: (values["which"],), reads_both),
        ),
        4,
        4,
    )


def test_a_slot_reads_what_its_choice_says_and_what_nothing_reads_is_left_out() -> None:
    space = branching()
    network = space.lower(Architecture({"op": "conv", "which": "right"}))
    assert [(node.name, node.inputs) for node in network] == [
        ("stem", ("x",)), ("right", ("stem",)), ("tail", ("right",)),
    ]  # fmt: skip
    skipped = space.lower(Architecture({"op": "skip", "which": "right"}))
    assert [(node.name, node.inputs) for node in skipped] == [("stem", ("x",)), ("tail", ("stem",))]


def test_a_soft_choice_of_inputs_lowers_to_the_relaxed_slot_or_says_that_there_is_none() -> None:
    space = branching()
    soft = {"op": "conv", "which": Mix(("left", "right"), (0.5, 0.5))}
    assert [node.inputs for node in space.lower(soft) if node.name == "tail"] == [("left",)]
    bare = SearchSpace("bare", space.choices, (*space.slots[:3], Slot("tail", ("which",), space.slots[3].build,
                       space.slots[3].inputs)), 4, 4)  # fmt: skip
    with pytest.raises(HwnasError, match="slot tail cannot be relaxed"):
        bare.lower(soft)


def test_the_supernet_of_a_branching_space_is_the_net_that_is_taken_out_of_it() -> None:
    import torch

    space = branching()
    net, images = WeightSharing(space), torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    for code in np.ndindex(2, 2):
        (architecture,) = space.decode(np.asarray([code]))
        torch.testing.assert_close(
            extract(net, architecture).train()(images), net(images, architecture), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("slots", "told"),
    [
        ((Slot("a", (), lambda v: CONV, ("b",)), Slot("b", (), lambda v: CONV)), "input of slot a 'b'"),
        ((Slot("x", (), lambda v: CONV),), "a slot cannot be named 'x'"),
        ((Slot("a/b", (), lambda v: CONV),), "a slot cannot be named 'a/b'"),
    ],
)
def test_a_space_that_reads_what_comes_later_is_refused(slots: tuple[Slot, ...], told: str) -> None:
    with pytest.raises(HwnasError, match=told):
        SearchSpace("bad", (), slots, 4, 4)


def test_a_costing_counts_a_slot_whether_or_not_it_is_read() -> None:
    """What the price of a whole space sums are slots: a space whose slots can go unread lets them depend on it."""
    space, cost = branching(), OperatorCost("macs", "MAC", lambda operator: float(ops.macs(operator)))
    costs = Costing(space, cost)([Architecture({"op": "conv", "which": "right"})])
    assert costs[0] == 4 * ops.macs(CONV)


@pytest.mark.parametrize("port", [Port((3, 4, 5)), Port((16,), "int64"), Port((8, 8, 3), "uint8")])
def test_a_table_spells_a_port_and_reads_it_back(port: Port) -> None:
    assert parse_port(port_text(port)) == port


@pytest.mark.parametrize("text", ["float64:3", "int64:", ":3", "int64:0x2", "3+4", "int99:3"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_port(text)
