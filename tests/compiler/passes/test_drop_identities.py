"""Names for the same values cost nothing."""

from pathlib import Path

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.ir.memory import Halo
from edgekiln.compiler.passes.drop_identities import drop_identities
from edgekiln.compiler.passes.pipeline import lower_graph
from edgekiln.compiler.passes.qdq_to_integer import qdq_to_integer
from tests.compiler.qdq_models import QdqModel


def pooled_then_convolved(path: Path, *, pool_zero: int) -> Path:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 8, 8))
    pool = m.op("MaxPool", x, out="pool", kernel_shape=[2, 2], strides=[2, 2])
    pooled = m.q(pool, zero=pool_zero)
    y = m.q(m.conv(pooled, 4, 4, 3, 3, out="y", pads=[1, 1, 1, 1]))
    return m.save(path / "m.onnx", y)


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_a_pool_writes_what_its_consumer_reads_border_included(tmp_path: Path) -> None:
    graph = import_onnx(pooled_then_convolved(tmp_path, pool_zero=3))
    lower_graph(graph, "int8")
    assert ops(graph) == ["quantize", "max_pool", "conv2d", "dequantize"]
    _, pool, conv, _ = graph.nodes
    assert pool.outputs == conv.inputs == ("pool_q",)
    assert graph.tensors["pool_q"].halo == Halo(top=1, left=1, bottom=1, right=1)


def test_another_quantization_is_work(tmp_path: Path) -> None:
    graph = import_onnx(pooled_then_convolved(tmp_path, pool_zero=4))
    lower_graph(graph, "int8")
    assert ops(graph) == ["quantize", "max_pool", "requantize", "conv2d", "dequantize"]


def test_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 16))
    y = m.q(m.op("Reshape", x, m.const([1, 16], "int64"), out="same"))
    graph = import_onnx(m.save(tmp_path / "m.onnx", y))
    qdq_to_integer(graph)
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    drop_identities(graph)
    assert (graph.inputs, graph.outputs) == (inputs, outputs)
    assert "reshape" not in ops(graph)
