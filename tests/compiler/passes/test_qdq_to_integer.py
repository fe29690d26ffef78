"""Which operators become integer operations, and which stay float, with what reason."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.ir.memory import Halo
from edgekiln.compiler.passes.drop_identities import drop_identities
from edgekiln.compiler.passes.fuse_transpose import fuse_transpose
from edgekiln.compiler.passes.pipeline import lower_graph
from edgekiln.compiler.passes.qdq_to_integer import qdq_to_integer
from tests.compiler.qdq_models import QdqModel


def integers(path: Path) -> Graph:
    graph = import_onnx(path)
    qdq_to_integer(graph)
    return graph


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_a_convolution_with_relu6_becomes_one_operation(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 8, 8))
    conv = m.conv(x, 4, 3, 3, 3, out="conv", pads=[1, 1, 1, 1])
    relu6 = m.op("Clip", conv, m.const(0.0, "float32"), m.const(6.0, "float32"), out="relu6")
    y = m.q(relu6, scale=0.1, zero=-100)
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "conv2d", "dequantize"]
    conv2d = graph.nodes[1]
    assert (conv2d.attrs["lo"], conv2d.attrs["hi"]) == (-100, -100 + 60)
    assert conv2d.outputs == ("relu6_q",)


def test_logits_that_are_not_quantized_leave_a_dense_layer_as_floats(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 16))
    weight, _ = m.weight(10, 16)
    m.op("Gemm", x, weight, out="logits", transB=1)
    graph = integers(m.save(tmp_path / "m.onnx", "logits"))
    assert ops(graph) == ["quantize", "dense"]
    assert graph.tensors["logits"].quant is None
    assert "lo" not in graph.nodes[1].attrs


def test_the_operands_of_a_matmul_may_be_transposed_weights(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 5, 16))
    weight, scales = m.weight(16, 10, axis=1)
    y = m.q(m.op("MatMul", x, weight, out="y"))
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "dense", "dequantize"]
    dense = graph.nodes[1]
    assert dense.attrs["weight"].shape == (10, 16)
    expected = np.float32(m.scales[x]) * scales / np.float32(0.05)
    np.testing.assert_array_equal(dense.attrs["mult"], expected)


def test_flatten_between_pool_and_dense_works_on_the_integers(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 4, 4))
    pooled = m.q(m.op("GlobalAveragePool", x, out="pool"))
    flat = m.op("Flatten", pooled, out="flat")
    weight, _ = m.weight(10, 8)
    m.op("Gemm", flat, weight, out="logits", transB=1)
    graph = integers(m.save(tmp_path / "m.onnx", "logits"))
    assert ops(graph) == ["quantize", "global_avg_pool", "reshape", "dense"]


def test_any_unary_function_becomes_a_table(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8), scale=0.1, zero=10)
    m.op("Sigmoid", x, out="sigmoid")
    silu = m.op("Mul", x, "sigmoid", out="silu")
    y = m.q(silu, scale=0.1, zero=-120)
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "table", "dequantize"]
    codes = np.arange(-128, 128)
    real = (codes - 10) * np.float32(0.1)
    silu_of = np.rint(real / (1 + np.exp(-real)) / np.float32(0.1)) - 120
    table = graph.nodes[1].attrs["table"].astype(int)
    assert np.abs(table - silu_of.clip(-128, 127)).max() <= 1  # float32 exp against float64
    assert (table == silu_of.clip(-128, 127)).mean() > 0.98


def test_what_has_no_integer_form_says_why(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8))
    y = m.q(m.op("LogSoftmax", x, out="log"))
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "dequantize", "LogSoftmax", "quantize", "dequantize"]
    assert graph.nodes[2].reason == "LogSoftmax has no integer form"


def test_attention_reads_and_writes_through_its_transposes(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 5, 2, 4))
    q = m.op("Transpose", x, out="q", perm=[0, 2, 1, 3])
    k = m.op("Transpose", x, out="k", perm=[0, 2, 3, 1])
    scores = m.op("Mul", m.op("MatMul", q, k, out="qk"), m.const(0.5, "float32"), out="scaled")
    weights = m.q(m.op("Softmax", m.q(scores), out="softmax", axis=-1))
    mixed = m.op("Transpose", m.q(m.op("MatMul", weights, q, out="v")), out="y", perm=[0, 2, 1, 3])
    graph = integers(m.save(tmp_path / "m.onnx", m.q(mixed)))
    drop_identities(graph)
    fuse_transpose(graph)
    products = [node for node in graph.nodes if node.op == "matmul"]
    assert [op for op in ops(graph) if op not in ("quantize", "reshape")] == [
        "matmul", "softmax", "matmul", "dequantize",
    ]  # fmt: skip
    assert products[0].attrs["b_perm"] == (0, 2, 3, 1)
    assert products[1].attrs["y_perm"] == (0, 2, 1, 3)


def test_softmax_along_another_axis_stays_float(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 4))
    graph = integers(m.save(tmp_path / "m.onnx", m.q(m.op("Softmax", x, out="s", axis=1))))
    (reason,) = (node.reason for node in graph.nodes if node.op == "Softmax")
    assert reason == "it runs along another axis than the last"


def test_a_float_convolution_is_named_with_its_reason(tmp_path: Path) -> None:
    m = QdqModel()
    m.input("x", 1, 3, 8, 8)
    m.op("Conv", "x", m.const(np.ones((4, 3, 3, 3)), "float32"), out="y")
    graph = integers(m.save(tmp_path / "m.onnx", "y"))
    assert [(n.op, n.reason) for n in graph.nodes] == [("Conv", "its input is not quantized")]


def test_a_transposed_input_is_quantized_before_it_is_moved(tmp_path: Path) -> None:
    m = QdqModel()
    m.input("x", 1, 8, 8, 3)
    x = m.q(m.op("Transpose", "x", out="nchw", perm=[0, 3, 1, 2]))
    y = m.q(m.conv(x, 4, 3, 1, 1, out="y"))
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "transpose", "conv2d", "dequantize"]


def test_a_pad_before_a_convolution_is_absorbed(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 8, 8))
    padded = m.op("Pad", x, m.const([0, 0, 1, 2, 0, 0, 3, 4], "int64"), out="padded")
    y = m.q(m.conv(padded, 4, 3, 3, 3, out="y", pads=[1, 1, 1, 1]))
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "conv2d", "dequantize"]
    assert graph.nodes[1].attrs["pads"] == (2, 3, 4, 5)


def test_a_residual_addition_is_fused_into_the_later_convolution(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 8, 8))
    a = m.q(m.conv(x, 4, 4, 3, 3, out="a", pads=[1, 1, 1, 1]))
    b = m.q(m.conv(a, 4, 4, 3, 3, out="b", pads=[1, 1, 1, 1]), scale=0.2, zero=7)
    y = m.q(m.op("Relu", m.op("Add", b, a, out="sum"), out="relu"), scale=0.1, zero=-128)
    graph = import_onnx(m.save(tmp_path / "m.onnx", y))
    lower_graph(graph, "uint8")
    assert ops(graph) == ["quantize", "conv2d", "conv2d", "dequantize"]
    fused = graph.nodes[2]
    assert fused.inputs == ("a_q", "a_q")
    assert fused.outputs == ("relu_q",)
    assert fused.attrs["own"].zero_point == 7 + 128  # unsigned codes on x86
    assert (fused.attrs["lo"], fused.attrs["hi"]) == (0, 255)


def test_images_lie_channels_last_with_the_border_their_readers_need(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 8, 8))
    a = m.q(m.conv(x, 4, 3, 1, 1, out="a"))
    b = m.conv(a, 4, 4, 3, 3, out="b", strides=[2, 2], pads=[0, 0, 1, 1])
    c = m.conv(a, 4, 4, 5, 5, out="c", strides=[2, 2], auto_pad="SAME_LOWER")
    graph = import_onnx(m.save(tmp_path / "m.onnx", m.q(b), m.q(c)))
    lower_graph(graph, "int8")
    assert graph.tensors["a_q"].layout == "NHWC"
    assert graph.tensors["a_q"].halo == Halo(top=2, left=2, bottom=1, right=1)
    assert graph.tensors["b_q"].halo == Halo()


def test_a_flattened_image_reorders_the_weights_not_the_image(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 4, 4))
    a = m.q(m.conv(x, 8, 3, 3, 3, out="a"))
    flat = m.op("Flatten", a, out="flat")
    weight, _ = m.weight(5, 32)
    m.op("Gemm", flat, weight, out="y", transB=1)
    graph = import_onnx(m.save(tmp_path / "m.onnx", "y"))
    before = import_onnx(tmp_path / "m.onnx")
    lower_graph(graph, "int8")
    assert ops(graph) == ["quantize", "conv2d", "reshape", "dense"]
    assert graph.nodes[2].attrs["memory"]
    original = before.constants[before.nodes[-2].inputs[0]].reshape(5, 8, 2, 2)
    packed = graph.nodes[3].attrs["weight"].reshape(5, 2, 2, 8)
    np.testing.assert_array_equal(packed, original.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integer_inputs_keep_their_type_at_the_edge(tmp_path: Path, dtype: str) -> None:
    m = QdqModel(dtype=dtype)
    kind = {"int8": 3, "uint8": 2}[dtype]
    m.input("x_q", 1, 3, 4, 4, dtype=kind)
    s, z = m.const(0.05, "float32"), m.const(3, dtype)
    m.scales["x_dq"] = float(np.float32(0.05))
    m.op("DequantizeLinear", "x_q", s, z, out="x_dq")
    m.op("QuantizeLinear", m.conv("x_dq", 4, 3, 1, 1, out="y"), s, z, out="y_q")
    graph = import_onnx(m.save(tmp_path / "m.onnx", "y_q"))
    lower_graph(graph, "uint8")
    assert graph.tensors["x_q"].dtype == graph.tensors["y_q"].dtype == dtype
    conv2d = next(node for node in graph.nodes if node.op == "conv2d")
    assert graph.tensors[conv2d.inputs[0]].dtype == "uint8"
