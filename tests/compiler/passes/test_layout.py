"""Images lie channels-last, everything else as ONNX has it."""

from pathlib import Path

from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    lowered,
)
from tests.compiler.qdq_models import QdqModel


def test_what_agrees_with_an_image_is_one(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 4, 4))
    a = m.q(m.op("Add", x, x, out="a"))
    y = m.q(m.conv(a, 4, 4, 1, 1, out="y"))
    graph = before("layout", m.save(tmp_path / "m.onnx", y))
    assert_changes_once("layout", graph)
    assert {graph.tensors[name].layout for name in ("x_q", "a_q", "y_q")} == {"NHWC"}
    assert graph.tensors["y_dq"].layout == "plain"


def test_rows_of_an_image_are_read_from_a_copy(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.conv(m.q(m.input("x", 1, 3, 4, 8)), 4, 3, 1, 1, out="c"))
    graph = before("layout", m.save(tmp_path / "m.onnx", m.q(m.op("Softmax", x, out="s"))))
    assert_changes_once("layout", graph)
    assert kinds(graph) == ["quantize", "conv2d", "transpose", "softmax", "dequantize"]


def test_a_graph_without_images_is_left_alone(tmp_path: Path) -> None:
    m = QdqModel()
    path = m.save(tmp_path / "m.onnx", m.q(m.op("Softmax", m.q(m.input("x", 1, 4)), out="s")))
    assert_leaves_alone("layout", before("layout", path))


def test_floats_between_integer_images_lie_as_these_do(tmp_path: Path) -> None:
    m = QdqModel()
    c = m.q(m.conv(m.q(m.input("x", 1, 3, 8, 8)), 4, 3, 1, 1, out="c"))
    weights = m.const(m.rng.normal(size=(4, 4, 3, 3)), "float32")
    f = m.op("Conv", c, weights, out="f", pads=[1, 1, 1, 1])
    p = m.op("MaxPool", f, out="p", kernel_shape=[2, 2])
    y = m.q(m.conv(m.q(p), 4, 4, 1, 1, out="y"))
    graph = lowered(m.save(tmp_path / "m.onnx", y))
    assert "transpose" not in kinds(graph)
    assert graph.tensors["c_dq"].layout == graph.tensors["p"].layout == "NHWC"
    assert graph.tensors["c_dq"].halo  # what dequantizes writes the border that the padding reads


def test_an_image_that_the_program_gives_as_codes_and_as_floats_is_in_onnx_order(
    tmp_path: Path,
) -> None:
    m = QdqModel()
    weights = m.const(m.rng.normal(size=(4, 3, 1, 1)), "float32")
    f = m.op("Conv", m.input("x", 1, 3, 8, 8), weights, out="f")
    p = m.op("MaxPool", f, out="p", kernel_shape=[2, 2])
    y = m.q(p)
    graph = lowered(m.save(tmp_path / "m.onnx", "p_q", y))
    assert {graph.tensors[name].layout for name in graph.outputs} == {"plain"}
