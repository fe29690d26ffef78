"""Programs of microcontrollers take and give codes."""

from pathlib import Path

from edgekiln.compiler.ir.codes import Quant
from tests.compiler.passes.graphs import assert_changes_once, assert_leaves_alone, before, kinds
from tests.compiler.qdq_models import QdqModel


def test_inputs_and_outputs_are_codes_under_their_names(tmp_path: Path) -> None:
    m = QdqModel()
    y = m.q(m.conv(m.q(m.input("x", 1, 3, 8, 8)), 4, 3, 1, 1, out="y"), scale=0.5, zero=7)
    graph = before("codes_at_edges", m.save(tmp_path / "m.onnx", y))
    assert_changes_once("codes_at_edges", graph)
    assert kinds(graph) == ["conv2d"]
    assert (graph.inputs, graph.outputs) == (["x"], ["y_dq"])
    assert graph.tensors["y_dq"].quant == Quant(scale=0.5, zero_point=7)


def test_an_input_that_others_read_as_floats_stays_float(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.input("x", 1, 8)
    m.op("LogSoftmax", x, out="log")
    m.op("LogSoftmax", m.q(x), out="other")
    graph = before("codes_at_edges", m.save(tmp_path / "m.onnx", "log", "other"))
    assert_leaves_alone("codes_at_edges", graph)
