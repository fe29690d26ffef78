"""Transposes that are no work."""

from pathlib import Path

from edgekiln.compiler.ir.linear import MatMul
from edgekiln.compiler.ir.moves import Transpose
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    only,
)
from tests.compiler.qdq_models import QdqModel


def product(m: QdqModel, left: list[int], right: list[int]) -> str:
    a = m.op("Transpose", m.q(m.input("a", 1, 4, 4, 4)), out="at", perm=left)
    b = m.op("Transpose", m.q(m.input("b", 1, 4, 4, 4)), out="bt", perm=right)
    return m.q(m.op("MatMul", a, b, out="y"))


def test_a_product_reads_through_the_transposes_of_its_operands(tmp_path: Path) -> None:
    m = QdqModel()
    path = m.save(tmp_path / "m.onnx", product(m, [0, 2, 1, 3], [0, 1, 3, 2]))
    graph = before("fuse_transpose", path)
    assert_changes_once("fuse_transpose", graph)
    assert kinds(graph) == ["quantize", "quantize", "matmul", "dequantize"]
    op = only(graph, MatMul)
    assert (op.a_perm, op.b_perm, op.y_perm) == ((0, 2, 1, 3), (0, 1, 3, 2), None)


def test_a_left_operand_whose_rows_would_not_be_dense_is_moved(tmp_path: Path) -> None:
    m = QdqModel()
    path = m.save(tmp_path / "m.onnx", product(m, [0, 1, 3, 2], [0, 1, 2, 3]))
    graph = before("fuse_transpose", path)
    assert_changes_once("fuse_transpose", graph)  # of the right one alone
    assert only(graph, Transpose).perm == (0, 1, 3, 2)
    assert only(graph, MatMul).a_perm is None


def patches(m: QdqModel, perm: list[int]) -> str:
    x = m.q(m.conv(m.q(m.input("x", 1, 3, 8, 8)), 4, 3, 4, 4, out="c", strides=[4, 4]))
    flat = m.op("Reshape", x, m.const([1, 4, 4], "int64"), out="flat")
    return m.q(m.op("Transpose", flat, out="rows", perm=perm))


def test_the_pixels_of_patches_are_rows(tmp_path: Path) -> None:
    m = QdqModel()
    graph = before("pixels_as_rows", m.save(tmp_path / "m.onnx", patches(m, [0, 2, 1])))
    assert_changes_once("pixels_as_rows", graph)
    assert only(graph, Transpose).perm == (0, 2, 3, 1)


def test_other_turns_of_a_flattened_image_stay(tmp_path: Path) -> None:
    m = QdqModel()
    path = m.save(tmp_path / "m.onnx", patches(m, [1, 0, 2]))
    assert_leaves_alone("pixels_as_rows", before("pixels_as_rows", path))
