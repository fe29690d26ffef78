"""Names for the same values cost nothing."""

from pathlib import Path

from edgekiln.compiler.ir.memory import Halo
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    lowered,
)
from tests.compiler.qdq_models import QdqModel


def pooled_then_convolved(path: Path, *, pool_zero: int) -> Path:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 8, 8))
    pool = m.op("MaxPool", x, out="pool", kernel_shape=[2, 2], strides=[2, 2])
    pooled = m.q(pool, zero=pool_zero)
    y = m.q(m.conv(pooled, 4, 4, 3, 3, out="y", pads=[1, 1, 1, 1]))
    return m.save(path / "m.onnx", y)


def test_a_pool_writes_what_its_consumer_reads_border_included(tmp_path: Path) -> None:
    graph = lowered(pooled_then_convolved(tmp_path, pool_zero=3))
    assert kinds(graph) == ["quantize", "max_pool", "conv2d", "dequantize"]
    _, pool, conv, _ = graph.nodes
    assert pool.outputs == conv.inputs == ("pool_q",)
    assert graph.tensors["pool_q"].halo == Halo(top=1, left=1, bottom=1, right=1)


def test_another_quantization_is_work(tmp_path: Path) -> None:
    path = pooled_then_convolved(tmp_path, pool_zero=4)
    assert_leaves_alone("drop_identities", before("drop_identities", path))
    assert kinds(lowered(path)) == ["quantize", "max_pool", "requantize", "conv2d", "dequantize"]


def test_reshapes_to_the_same_shape_go_and_inputs_and_outputs_keep_their_names(
    tmp_path: Path,
) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 16))
    y = m.q(m.op("Reshape", x, m.const([1, 16], "int64"), out="same"))
    graph = before("drop_identities", m.save(tmp_path / "m.onnx", y))
    edges = list(graph.inputs), list(graph.outputs)
    assert_changes_once("drop_identities", graph)
    assert (graph.inputs, graph.outputs) == edges
    assert "reshape" not in kinds(graph)


def test_one_value_under_three_names_has_one(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.op("Relu", m.q(m.input("x", 1, 16)), out="relu"))
    names = [m.op("Identity", x, out=name) for name in ("a", "b")]
    graph = before("drop_identities", m.save(tmp_path / "m.onnx", *map(m.q, names)))
    assert_changes_once("drop_identities", graph)
    assert kinds(graph) == ["quantize", "requantize", "dequantize", "dequantize"]


def test_a_slice_of_all_there_is_goes_and_one_of_less_stays(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.op("Relu", m.q(m.input("x", 1, 16)), out="relu"))
    first, last, axis = (m.const([number], "int64") for number in (0, 2**31 - 1, 1))
    whole = m.q(m.op("Slice", x, first, last, axis, out="whole"))
    less = m.q(m.op("Slice", whole, axis, last, axis, out="less"))
    graph = before("drop_identities", m.save(tmp_path / "m.onnx", less))
    assert kinds(graph).count("slice") == 2
    assert_changes_once("drop_identities", graph)
    (cut,) = (node for node in graph.nodes if node.op.kind == "slice")
    assert graph.tensors[cut.name].shape == (1, 15)
