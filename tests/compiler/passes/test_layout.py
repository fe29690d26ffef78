"""Images lie channels-last, everything else as ONNX has it."""

from pathlib import Path

import numpy as np

from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.ir.linear import Dense
from edgekiln.compiler.ir.moves import Reshape
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    only,
)
from tests.compiler.qdq_models import QdqModel


def test_a_flattened_image_reorders_the_weights_not_the_image(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 4, 4))
    a = m.q(m.conv(x, 8, 3, 3, 3, out="a"))
    flat = m.op("Flatten", a, out="flat")
    weight, _ = m.weight(5, 32)
    m.op("Gemm", flat, weight, out="y", transB=1)
    path = m.save(tmp_path / "m.onnx", "y")
    graph, model = before("layout", path), import_onnx(path)
    assert_changes_once("layout", graph)
    assert kinds(graph) == ["quantize", "conv2d", "reshape", "dense"]
    assert only(graph, Reshape).in_memory
    original = model.constants[model.nodes[-2].inputs[0]].reshape(5, 8, 2, 2)
    packed = only(graph, Dense).weight.reshape(5, 2, 2, 8)
    np.testing.assert_array_equal(packed, original.transpose(0, 2, 3, 1))


def test_what_is_flattened_as_onnx_has_it_leaves_the_weights_alone(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 4, 4))
    weight, _ = m.weight(5, 48)
    m.op("Gemm", m.op("Flatten", x, out="flat"), weight, out="y", transB=1)
    path = m.save(tmp_path / "m.onnx", "y")
    graph, model = before("layout", path), import_onnx(path)
    assert_leaves_alone("layout", graph)
    assert not only(graph, Reshape).in_memory
    (original,) = (array for array in model.constants.values() if array.shape == (5, 48))
    np.testing.assert_array_equal(only(graph, Dense).weight.reshape(5, 48), original)


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
