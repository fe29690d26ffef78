"""Floats that are only quantized are rounded by the kernel that makes them."""

from pathlib import Path

import pytest

from edgekiln.compiler.ir.codes import FloatFinish
from edgekiln.compiler.ir.linear import Conv2d
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    every,
    kinds,
    lowered,
)
from tests.compiler.qdq_models import QdqModel


def float_conv(m: QdqModel, x: str, oc: int, ic: int, *kernel: int, out: str) -> str:
    """A convolution whose weights are floats."""
    weights = m.const(m.rng.normal(size=(oc, ic, *kernel)) * 0.1, "float32")
    return m.op("Conv", x, weights, out=out, pads=[kernel[0] // 2] * 4)


@pytest.mark.parametrize("kind", ["HardSwish", "Sigmoid", "Relu"])
def test_a_float_convolution_stores_the_codes_of_its_function(tmp_path: Path, kind: str) -> None:
    m = QdqModel()
    c = float_conv(m, m.input("x", 1, 3, 8, 8), 4, 3, 3, 3, out="c")
    y = m.conv(m.q(m.op(kind, c, out="f")), 4, 4, 1, 1, out="y")
    graph = before("fuse_quantize", m.save(tmp_path / "m.onnx", y))
    assert_changes_once("fuse_quantize", graph)
    assert kinds(graph) == ["conv2d", "conv2d"]
    assert graph.nodes[0].outputs == ("f_q",)
    assert isinstance(every(graph, Conv2d)[0].finish, FloatFinish)
    assert "f" not in graph.tensors


def test_between_integer_layers_a_function_is_no_pass_over_memory(tmp_path: Path) -> None:
    m = QdqModel()
    c = m.conv(m.q(m.input("x", 1, 4, 8, 8)), 8, 4, 1, 1, out="c")
    y = m.q(m.conv(m.q(m.op("HardSwish", c, out="f")), 4, 8, 1, 1, out="y"))
    graph = lowered(m.save(tmp_path / "m.onnx", y))
    assert kinds(graph) == ["quantize", "conv2d", "conv2d", "dequantize"]


def test_a_sum_of_floats_stores_codes(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.input("x", 1, 4, 8, 8)
    a, b = (float_conv(m, x, 4, 4, 1, 1, out=name) for name in "ab")
    m.op("Concat", a, b, out="beside", axis=1)
    total = m.op("Mul", a, b, out="t")
    y = m.conv(m.q(total), 4, 4, 1, 1, out="y")
    graph = lowered(m.save(tmp_path / "m.onnx", y, "beside"))
    assert "quantize" not in kinds(graph)
    assert "mul" in kinds(graph)


def test_floats_that_others_read_or_that_are_an_output_stay(tmp_path: Path) -> None:
    m = QdqModel()
    c = float_conv(m, m.input("x", 1, 3, 8, 8), 4, 3, 1, 1, out="c")
    y = m.conv(m.q(c), 4, 4, 1, 1, out="y")
    path = m.save(tmp_path / "m.onnx", y, "c")
    assert_leaves_alone("fuse_quantize", before("fuse_quantize", path))
    m = QdqModel()
    c = float_conv(m, m.input("x", 1, 3, 8, 8), 4, 3, 1, 1, out="c")
    pooled = m.op("MaxPool", c, out="p", kernel_shape=[2, 2])
    y = m.conv(m.q(c), 4, 4, 1, 1, out="y")
    path = m.save(tmp_path / "n.onnx", y, pooled)
    assert_leaves_alone("fuse_quantize", before("fuse_quantize", path))


def test_what_a_pool_makes_is_quantized_by_itself(tmp_path: Path) -> None:
    m = QdqModel()
    c = float_conv(m, m.input("x", 1, 3, 8, 8), 4, 3, 1, 1, out="c")
    pooled = m.op("MaxPool", c, out="p", kernel_shape=[2, 2])
    y = m.conv(m.q(pooled), 4, 4, 1, 1, out="y")
    path = m.save(tmp_path / "m.onnx", y)
    assert_leaves_alone("fuse_quantize", before("fuse_quantize", path))
