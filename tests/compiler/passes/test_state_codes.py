"""A state is the codes that the next call reads, where both ends are of one scale."""

from pathlib import Path

import pytest

from edgekiln.compiler.ir.graph import Graph, StatePair
from edgekiln.compiler.ir.validate import faults
from edgekiln.compiler.onnx_model import door, io
from tests.compiler.passes.graphs import (
    apply,
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    lowered,
)
from tests.compiler.qdq_models import QdqModel


def model(path: Path, *, scale: float = 0.05, zero: int = 3) -> Path:
    """The next state is the sum of the input and the state, the answer its Relu."""
    m = QdqModel()
    total = m.op("Add", m.q(m.input("x", 1, 8)), m.q(m.input("state", 1, 8)), out="total")
    m.op("Identity", m.q(total, scale, zero), out="state_out")
    m.q(m.op("Relu", "total_dq", out="r"), 0.07, 1)
    m.save(path, "r_dq", "state_out")
    io.save_model(door.enter(path).model, path)
    return path


def test_both_conversions_go(tmp_path: Path) -> None:
    graph = before("state_codes", model(tmp_path / "m.onnx"))
    assert graph.states == [
        StatePair(name="state", next_name="state_out", input="state", output="state_out")
    ]
    count = len(graph.nodes)
    assert_changes_once("state_codes", graph)
    (pair,) = graph.states
    assert (pair.name, pair.next_name) == ("state", "state_out")
    assert (pair.input, pair.output) == (graph.inputs[1], graph.outputs[1])
    first, last = graph.tensors[pair.input], graph.tensors[pair.output]
    assert first.quant == last.quant is not None
    assert len(graph.nodes) == count - 2
    assert faults(graph) == []


@pytest.mark.parametrize(("scale", "zero"), [(0.06, 3), (0.05, 4)])
def test_ends_of_other_scales_stay_float(tmp_path: Path, scale: float, zero: int) -> None:
    graph = before("state_codes", model(tmp_path / "m.onnx", scale=scale, zero=zero))
    assert_leaves_alone("state_codes", graph)


def test_the_edges_of_a_microcontroller_are_those_of_a_call_alone(tmp_path: Path) -> None:
    graph = before("codes_at_edges", model(tmp_path / "m.onnx", scale=0.06))
    apply("codes_at_edges", graph)
    (pair,) = graph.states
    assert graph.tensors["x"].quant is not None
    assert graph.tensors[pair.input].quant is None
    assert faults(graph) == []


def test_an_image_that_is_remembered_lies_as_its_readers_want_it(tmp_path: Path) -> None:
    """Channels last and with the border of the padding, on both ends, and is not copied."""
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 6, 6))
    state = m.q(m.input("state", 1, 4, 6, 6), scale=0.05, zero=3)
    both = m.q(m.op("Add", m.q(m.conv(state, 4, 4, 3, 3, out="c", pads=[1, 1, 1, 1])), x, out="s"))
    m.op("Identity", both, out="state_out")
    m.q(m.op("GlobalAveragePool", both, out="y"))
    path = m.save(tmp_path / "m.onnx", "y_dq", "state_out")
    io.save_model(door.enter(path).model, path)
    graph: Graph = lowered(path)
    (pair,) = graph.states
    first, last = graph.tensors[pair.input], graph.tensors[pair.output]
    assert (first.layout, first.halo) == (last.layout, last.halo)
    assert first.layout == "NHWC"
    assert first.halo
    assert kinds(graph) == ["quantize", "conv2d", "global_avg_pool", "dequantize"]
    assert faults(graph) == []


def test_a_state_whose_ends_differ_is_a_fault(tmp_path: Path) -> None:
    graph = before("state_codes", model(tmp_path / "m.onnx"))
    graph.states = [StatePair(name="state", next_name="r", input="state", output="x")]
    assert faults(graph) == ["state: a state whose ends are no input and output"]
