"""A reshape that another one undoes is no work."""

from pathlib import Path

import numpy as np

from edgekiln.compiler.ir.ops import Binary
from tests.compiler.lowering.programs import ours, reference
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    lowered,
)
from tests.compiler.qdq_models import QdqModel


def squeezed(path: Path, *, back: tuple[int, ...] = (1, 6, 9, 1), seen: bool = False) -> Path:
    """A convolution over a sequence, as JAX's exporter writes it."""
    m = QdqModel(seed=4)
    x = m.q(m.input("x", 1, 5, 11, 1), 0.02, 7)
    y = m.q(m.conv(x, 6, 5, 3, 1, out="conv"), 0.31, -9)
    flat = m.q(m.op("Squeeze", y, m.const([3], "int64"), out="flat"), 0.31, -9)
    codes = m.const(m.rng.integers(-128, 128, (1, 6, 9)), "int8")
    offset = m.op("DequantizeLinear", codes, m.const(0.05, "float32"), m.const(3, "int8"), out="o")
    added = m.q(m.op("Add", flat, offset, out="added"), 0.33, -20)
    curved = m.q(m.op("Sigmoid", added, out="curved"), 0.004, -128)
    again = m.op("Reshape", curved, m.const(back, "int64"), out="again")
    pooled = m.q(
        m.op("MaxPool", m.q(again, 0.004, -128), out="pool", kernel_shape=[2, 1]), 0.004, -128
    )
    return m.save(path / "m.onnx", pooled, *([curved] if seen else []))


def test_what_is_between_two_reshapes_is_computed_in_the_first_shape(tmp_path: Path) -> None:
    graph = before("cancel_reshapes", squeezed(tmp_path))
    assert kinds(graph).count("reshape") == 2
    assert_changes_once("cancel_reshapes", graph)
    assert "reshape" not in kinds(graph)
    (added,) = (node for node in graph.nodes if isinstance(node.op, Binary))
    assert {graph.tensors[name].shape for name in (*added.inputs, *added.outputs)} == {(1, 6, 9, 1)}


def test_nothing_is_moved_between_the_convolution_and_the_pool(tmp_path: Path) -> None:
    found = kinds(lowered(squeezed(tmp_path)))
    assert found == ["quantize", "conv2d", "lookup", "max_pool", "dequantize"]


def test_another_shape_behind_it_is_another_order(tmp_path: Path) -> None:
    assert_leaves_alone(
        "cancel_reshapes", before("cancel_reshapes", squeezed(tmp_path, back=(1, 3, 18, 1)))
    )


def test_what_somebody_else_reads_in_the_second_shape_keeps_it(tmp_path: Path) -> None:
    assert_leaves_alone("cancel_reshapes", before("cancel_reshapes", squeezed(tmp_path, seen=True)))


def test_a_program_without_the_reshapes_computes_what_onnx_runtime_does(tmp_path: Path) -> None:
    model = squeezed(tmp_path)
    x = np.random.default_rng(5).normal(0, 1, (1, 5, 11, 1)).astype(np.float32)
    np.testing.assert_array_equal(ours(model, x)[0], reference(model, x)[0])


def test_a_reshape_and_its_opposite_are_nothing(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.op("Relu", m.q(m.input("x", 1, 4, 6)), out="relu"))
    other = m.q(m.op("Reshape", x, m.const([1, 24], "int64"), out="other"))
    back = m.q(m.op("Reshape", other, m.const([1, 4, 6], "int64"), out="back"))
    y = m.q(m.op("Sigmoid", back, out="y"), 0.004, -128)
    graph = before("cancel_reshapes", m.save(tmp_path / "m.onnx", y))
    assert_changes_once("cancel_reshapes", graph)
    assert "reshape" not in kinds(graph)
