"""Which operators become integer operations, and which stay float, with what reason."""

from pathlib import Path
from textwrap import dedent

import numpy as np

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.ir.linear import Conv2d, Dense, MatMul
from edgekiln.compiler.ir.ops import Lookup
from edgekiln.compiler.ir.printer import printed
from edgekiln.compiler.passes.drop_identities import drop_identities
from edgekiln.compiler.passes.fuse_transpose import fuse_transpose
from edgekiln.compiler.passes.qdq_to_integer import qdq_to_integer
from tests.compiler import float_models
from tests.compiler.passes.graphs import assert_leaves_alone, before, every, kinds, only
from tests.compiler.qdq_models import QdqModel


def integers(path: Path) -> Graph:
    graph = import_onnx(path)
    assert qdq_to_integer(graph)
    text = printed(graph)
    assert not qdq_to_integer(graph)
    assert printed(graph) == text
    return graph


def test_a_convolution_with_relu6_becomes_one_operation(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 8, 8))
    conv = m.conv(x, 4, 3, 3, 3, out="conv", pads=[1, 1, 1, 1])
    relu6 = m.op("Clip", conv, m.const(0.0, "float32"), m.const(6.0, "float32"), out="relu6")
    y = m.q(relu6, scale=0.1, zero=-100)
    assert printed(integers(m.save(tmp_path / "m.onnx", y))) == dedent("""\
        input x: float32[1,3,8,8]
        x_q: int8[1,3,8,8] (q - 3)·0.05 = quantize(x)
        relu6_q: int8[1,4,8,8] (q + 100)·0.1 = conv2d(x_q)
            weight=int8[4,3,3,3] bias=int32[4] mult=float32[4] finish=-100..-40
            window=3×3 pads 1,1,1,1
        relu6_dq: float32[1,4,8,8] = dequantize(relu6_q)
        output relu6_dq
        """)


def test_a_quantization_without_a_zero_point_is_of_unsigned_codes_from_zero(
    tmp_path: Path,
) -> None:
    """As ONNX says of QuantizeLinear's third operand."""
    m = QdqModel()
    x, scale = m.input("x", 1, 3, 8, 8), m.const(0.05, "float32")
    codes = m.op("QuantizeLinear", x, scale, out="x_q")
    pooled = m.op(
        "MaxPool", m.op("DequantizeLinear", codes, scale, out="x_dq"), out="y", kernel_shape=[2, 2]
    )
    y = m.op("DequantizeLinear", m.op("QuantizeLinear", pooled, scale, out="y_q"), scale, out="z")
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert kinds(graph)[:2] == ["quantize", "max_pool"]
    for name in ("x_q", "y_q"):
        tensor = graph.tensors[name]
        assert tensor.dtype == "uint8"
        assert tensor.quant is not None
        assert tensor.quant.zero_point == 0


def test_a_model_without_quantization_is_left_alone(tmp_path: Path) -> None:
    path = float_models.write(float_models.residual(), tmp_path / "m.onnx")
    assert_leaves_alone("qdq_to_integer", before("qdq_to_integer", path))


def test_logits_that_are_not_quantized_leave_a_dense_layer_as_floats(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 16))
    weight, _ = m.weight(10, 16)
    m.op("Gemm", x, weight, out="logits", transB=1)
    graph = integers(m.save(tmp_path / "m.onnx", "logits"))
    assert kinds(graph) == ["quantize", "dense"]
    assert graph.tensors["logits"].quant is None
    assert only(graph, Dense).dequantizes


def test_the_operands_of_a_matmul_may_be_transposed_weights(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 5, 16))
    weight, scales = m.weight(16, 10, axis=1)
    y = m.q(m.op("MatMul", x, weight, out="y"))
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert kinds(graph) == ["quantize", "dense", "dequantize"]
    dense = only(graph, Dense)
    assert dense.weight.shape == (10, 16)
    expected = np.float32(m.scales[x]) * scales / np.float32(0.05)
    np.testing.assert_array_equal(dense.mult, expected)


def test_flatten_between_pool_and_dense_works_on_the_integers(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 4, 4))
    pooled = m.q(m.op("GlobalAveragePool", x, out="pool"))
    flat = m.op("Flatten", pooled, out="flat")
    weight, _ = m.weight(10, 8)
    m.op("Gemm", flat, weight, out="logits", transB=1)
    graph = integers(m.save(tmp_path / "m.onnx", "logits"))
    assert kinds(graph) == ["quantize", "global_avg_pool", "reshape", "dense"]


def test_an_average_of_the_whole_image_is_a_global_one(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 4, 3))
    m.q(m.op("AveragePool", x, out="pool", kernel_shape=[4, 3]))
    graph = integers(m.save(tmp_path / "m.onnx", "pool_dq"))
    assert kinds(graph) == ["quantize", "global_avg_pool", "dequantize"]


def test_weights_without_a_zero_point_have_that_of_zero(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8))
    values = m.rng.integers(-127, 128, (10, 8))
    name, scale = m.const(values, "int8"), m.const(0.01, "float32")
    weight = m.op("DequantizeLinear", name, scale, out="w_dq")
    y = m.q(m.op("Gemm", x, weight, out="y", transB=1))
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert kinds(graph) == ["quantize", "dense", "dequantize"]
    np.testing.assert_array_equal(only(graph, Dense).weight.reshape(10, 8), values)


def test_the_mean_of_the_tokens_is_an_integer_pool(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 5, 16))
    mean = m.op("ReduceMean", x, m.const([1], "int64"), out="mean", keepdims=0)
    graph = integers(m.save(tmp_path / "m.onnx", m.q(mean)))
    assert kinds(graph) == ["quantize", "global_avg_pool", "reshape", "dequantize"]


def test_any_unary_function_becomes_a_lookup_table(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8), scale=0.1, zero=10)
    m.op("Sigmoid", x, out="sigmoid")
    silu = m.op("Mul", x, "sigmoid", out="silu")
    y = m.q(silu, scale=0.1, zero=-120)
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert kinds(graph) == ["quantize", "lookup", "dequantize"]
    codes = np.arange(-128, 128)
    real = (codes - 10) * np.float32(0.1)
    silu_of = np.rint(real / (1 + np.exp(-real)) / np.float32(0.1)) - 120
    entries = only(graph, Lookup).table.entries.astype(int)
    assert np.abs(entries - silu_of.clip(-128, 127)).max() <= 1  # float32 exp against float64
    assert (entries == silu_of.clip(-128, 127)).mean() > 0.98


def test_a_pad_before_a_convolution_is_absorbed(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 8, 8))
    padded = m.op("Pad", x, m.const([0, 0, 1, 2, 0, 0, 3, 4], "int64"), out="padded")
    y = m.q(m.conv(padded, 4, 3, 3, 3, out="y", pads=[1, 1, 1, 1]))
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert kinds(graph) == ["quantize", "conv2d", "dequantize"]
    assert only(graph, Conv2d).window.pads == (2, 3, 4, 5)


def test_a_transposed_input_is_quantized_before_it_is_moved(tmp_path: Path) -> None:
    m = QdqModel()
    m.input("x", 1, 8, 8, 3)
    x = m.q(m.op("Transpose", "x", out="nchw", perm=[0, 3, 1, 2]))
    y = m.q(m.conv(x, 4, 3, 1, 1, out="y"))
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert kinds(graph) == ["quantize", "transpose", "conv2d", "dequantize"]


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
    assert [kind for kind in kinds(graph) if kind not in ("quantize", "reshape")] == [
        "matmul", "softmax", "matmul", "dequantize",
    ]  # fmt: skip
    first, second = every(graph, MatMul)
    assert first.b_perm == (0, 2, 3, 1)
    assert second.y_perm == (0, 2, 1, 3)


def test_what_has_no_integer_form_says_why(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8))
    y = m.q(m.op("LogSoftmax", x, out="log"))
    graph = integers(m.save(tmp_path / "m.onnx", y))
    assert kinds(graph) == ["quantize", "dequantize", "LogSoftmax", "quantize", "dequantize"]
    assert graph.nodes[2].reason == "LogSoftmax has no integer form"


def test_softmax_along_another_axis_stays_float(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 4))
    graph = integers(m.save(tmp_path / "m.onnx", m.q(m.op("Softmax", x, out="s", axis=1))))
    (reason,) = (node.reason for node in graph.nodes if node.op.kind == "Softmax")
    assert reason == "it runs along another axis than the last"


def test_a_float_convolution_in_a_quantized_model_is_named_with_its_reason(tmp_path: Path) -> None:
    m = QdqModel()
    m.input("x", 1, 3, 8, 8)
    m.op("Conv", "x", m.const(np.ones((4, 3, 3, 3)), "float32"), out="y")
    graph = integers(m.save(tmp_path / "m.onnx", m.q("y")))
    assert [node.reason for node in graph.nodes if node.op.kind == "Conv"] == [
        "its input is not quantized"
    ]
