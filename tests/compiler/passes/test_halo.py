"""Who writes an image leaves the border that its readers need."""

from pathlib import Path

from edgekiln.compiler.ir.memory import Halo
from tests.compiler import float_models
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    lowered,
)
from tests.compiler.qdq_models import QdqModel


def test_images_have_the_border_their_readers_need(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 8, 8))
    a = m.q(m.conv(x, 4, 3, 1, 1, out="a"))
    b = m.conv(a, 4, 4, 3, 3, out="b", strides=[2, 2], pads=[0, 0, 1, 1])
    c = m.conv(a, 4, 4, 5, 5, out="c", strides=[2, 2], auto_pad="SAME_LOWER")
    graph = before("halo", m.save(tmp_path / "m.onnx", m.q(b), m.q(c)))
    assert_changes_once("halo", graph)
    assert graph.tensors["a_q"].layout == "NHWC"
    assert graph.tensors["a_q"].halo == Halo(top=2, left=2, bottom=1, right=1)
    assert graph.tensors["b_q"].halo == Halo()


def test_an_input_is_copied_into_an_image_with_a_border(tmp_path: Path) -> None:
    m = QdqModel()
    m.input("x_q", 1, 1, 4, 4, dtype=3)
    s, z = m.const(0.05, "float32"), m.const(3, "int8")
    m.op("DequantizeLinear", "x_q", s, z, out="x_dq")
    pool = m.op("AveragePool", "x_dq", out="p", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph = before("halo", m.save(tmp_path / "m.onnx", m.q(pool)))
    assert_changes_once("halo", graph)
    first, *_ = [node for node in graph.nodes if node.op.kind == "avg_pool"]
    assert graph.tensors[first.inputs[0]].halo == Halo(top=1, left=1, bottom=1, right=1)
    assert not graph.tensors["x_q"].halo


def test_windows_that_stay_inside_need_none(tmp_path: Path) -> None:
    m = QdqModel()
    y = m.q(m.conv(m.q(m.input("x", 1, 3, 8, 8)), 4, 3, 3, 3, out="y"))
    path = m.save(tmp_path / "m.onnx", y)
    assert_leaves_alone("halo", before("halo", path))


def test_a_float_input_gets_its_border_with_its_layout(tmp_path: Path) -> None:
    path = float_models.write(float_models.residual(), tmp_path / "m.onnx")
    graph = lowered(path)
    assert kinds(graph)[0] == "transpose"
    assert graph.tensors[graph.nodes[0].name].halo.top == 1
