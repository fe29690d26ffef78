"""ONNX Runtime's QuantizeLinear, and ONNX's with a type for its codes, become one form."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.passes.pipeline import lower_graph
from tests.compiler.lowering import programs
from tests.compiler.passes.graphs import kinds
from tests.compiler.qdq_models import QdqModel

X = np.random.default_rng(0).normal(0, 2, (1, 3, 7, 9)).astype(np.float32)


def network(opset: int, dtype: str) -> onnx.ModelProto:
    """A convolution of codes, in ONNX Runtime's operators."""
    m = QdqModel(opset=opset, dtype=dtype)
    fine = 1.0 if "8" in dtype else 256.0
    x = m.q(m.input("x", *X.shape), scale=0.04 / fine, zero=3)
    conv = m.op("Relu", m.conv(x, 5, 3, 3, 3, out="c", strides=[2, 2]), out="r")
    y = m.q(conv, scale=0.4 / fine, zero=5)
    for node in m.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.domain = "com.microsoft"
    result = helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, 5, 3, 4])
    graph = helper.make_graph(m.nodes, "net", m.inputs, [result], m.constants)
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


# Operator sets, and the least that has what is needed.
@pytest.mark.parametrize(
    ("opset", "dtype", "made"),
    [(11, "uint8", 13), (17, "int8", 17), (11, "int16", 21), (17, "uint16", 21), (21, "int16", 21)],
)
def test_onnx_runtimes_operators_are_onnxs(
    tmp_path: Path, opset: int, dtype: str, made: int
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(network(opset, dtype), path)
    loaded = io.load_model(path)
    assert [(each.domain, each.version) for each in loaded.opset_import] == [("", made)]
    graph = import_onnx(path)
    assert lower_graph(graph, "uint8") == []
    assert kinds(graph) == ["quantize", "conv2d", "dequantize"]
    (ours,), (theirs,) = programs.ours(path, X), programs.reference(path, X)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16"])
def test_an_attribute_says_the_type_where_no_zero_point_does(tmp_path: Path, dtype: str) -> None:
    m = QdqModel(opset=21)
    scale = m.const(0.01, "float32")
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    m.op("QuantizeLinear", m.input("x", *X.shape), scale, out="q", output_dtype=kind)
    floats = m.op("DequantizeLinear", "q", scale, out="d")
    path = m.save(tmp_path / "m.onnx", m.op("Relu", floats, out="y"), "q")
    ours, theirs = programs.ours(path, X), programs.reference(path, X)
    assert [each.dtype for each in ours] == [each.dtype for each in theirs]
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])
