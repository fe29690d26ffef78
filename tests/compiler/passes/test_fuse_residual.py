"""An addition joins the convolution that makes one of its operands."""

from pathlib import Path

from edgekiln.compiler.ir.codes import IntFinish, Quant
from edgekiln.compiler.ir.linear import Conv2d
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    lowered,
)
from tests.compiler.qdq_models import QdqModel


def shortcut(m: QdqModel) -> str:
    x = m.q(m.input("x", 1, 4, 8, 8))
    a = m.q(m.conv(x, 4, 4, 3, 3, out="a", pads=[1, 1, 1, 1]))
    b = m.q(m.conv(a, 4, 4, 3, 3, out="b", pads=[1, 1, 1, 1]), scale=0.2, zero=7)
    return m.q(m.op("Relu", m.op("Add", b, a, out="sum"), out="relu"), scale=0.1, zero=-128)


def test_a_residual_addition_is_fused_into_the_later_convolution(tmp_path: Path) -> None:
    m = QdqModel()
    graph = before("fuse_residual", m.save(tmp_path / "m.onnx", shortcut(m)))
    assert_changes_once("fuse_residual", graph)
    assert kinds(graph) == ["quantize", "conv2d", "conv2d", "dequantize"]
    node = graph.nodes[2]
    assert (node.inputs, node.outputs) == (("a_q", "a_q"), ("relu_q",))
    assert isinstance(node.op, Conv2d)
    assert node.op.finish == IntFinish(qmin=-128, qmax=127)
    assert node.op.residual is not None
    assert node.op.residual.conv_quant == Quant(scale=float(m.scales["b_dq"]), zero_point=7)


def test_its_codes_become_unsigned_with_all_others(tmp_path: Path) -> None:
    m = QdqModel()
    graph = lowered(m.save(tmp_path / "m.onnx", shortcut(m)), "uint8")
    op = graph.nodes[2].op
    assert isinstance(op, Conv2d)
    assert op.residual is not None
    assert op.residual.conv_quant is not None
    assert op.residual.conv_quant.zero_point == 7 + 128
    assert op.residual.conv_finish == op.finish == IntFinish(qmin=0, qmax=255)


def test_a_convolution_that_is_an_output_or_added_to_itself_stays(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 8, 8))
    a = m.q(m.conv(x, 4, 4, 1, 1, out="a"))
    twice = m.q(m.op("Add", a, a, out="twice"))
    path = m.save(tmp_path / "m.onnx", twice)
    assert_leaves_alone("fuse_residual", before("fuse_residual", path))
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 8, 8))
    a = m.q(m.conv(x, 4, 4, 1, 1, out="a"))
    y = m.q(m.op("Add", a, x, out="y"))
    path = m.save(tmp_path / "m.onnx", "a_q", y)
    assert_leaves_alone("fuse_residual", before("fuse_residual", path))
