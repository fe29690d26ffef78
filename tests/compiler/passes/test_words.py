"""Codes of 16 bits: what becomes integer, and what is refused by which reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.ir.linear import Conv2d
from edgekiln.compiler.ir.printer import printed
from edgekiln.compiler.passes.pipeline import lower_graph
from tests.compiler.lowering import programs
from tests.compiler.passes.graphs import every, kinds
from tests.compiler.qdq_models import QdqModel

SIGNED, UNSIGNED = ("int16", 0), ("uint16", 1 << 15)


def network(path: Path, dtype: str, zero: int) -> Path:
    """A convolution with ReLU, a sum of both, a mean."""
    m = QdqModel(opset=21, dtype=dtype)
    x = m.q(m.input("x", 1, 3, 8, 8), scale=1e-4, zero=zero + 5)
    relu = m.op("Relu", m.conv(x, 8, 3, 3, 3, out="c", pads=[1, 1, 1, 1]), out="r")
    a = m.q(relu, scale=2e-4, zero=zero)
    b = m.q(m.conv(a, 8, 8, 1, 1, out="d"), scale=1e-4, zero=zero - 7)
    y = m.q(m.op("Add", b, a, out="s"), scale=3e-4, zero=zero)
    mean = m.q(m.op("GlobalAveragePool", y, out="g"), scale=1e-4, zero=zero)
    return m.save(path, mean)


def lowered(path: Path) -> tuple[Graph, dict[str, str]]:
    """The graph, and the reason of each operator that stayed float."""
    graph = import_onnx(path)
    return graph, {each.name: each.reason for each in lower_graph(graph, "uint8")}


@pytest.mark.parametrize(("dtype", "zero"), [SIGNED, UNSIGNED])
def test_all_of_a_network_is_integer(tmp_path: Path, dtype: str, zero: int) -> None:
    path = network(tmp_path / "m.onnx", dtype, zero)
    graph, floats = lowered(path)
    assert floats == {}
    assert kinds(graph) == ["quantize", "conv2d", "conv2d", "global_avg_pool", "dequantize"]
    x = np.random.default_rng(0).normal(0, 1.5, (1, 3, 8, 8)).astype(np.float32)
    (ours,), (theirs,) = programs.ours(path, x), programs.reference(path, x)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1.01e-4)  # ties of floats


def test_words_without_a_sign_are_the_same_program(tmp_path: Path) -> None:
    signed, unsigned = (
        printed(lowered(network(tmp_path / f"{dtype}.onnx", dtype, zero))[0])
        for dtype, zero in (SIGNED, UNSIGNED)
    )
    assert signed == unsigned


def test_what_others_see_keeps_its_type(tmp_path: Path) -> None:
    m = QdqModel(opset=21, dtype="uint16")
    m.q(m.op("Relu", m.input("x", 1, 8), out="r"), scale=1e-4, zero=100)
    path = m.save(tmp_path / "m.onnx", "r_q")
    x = np.random.default_rng(0).normal(0, 1, (1, 8)).astype(np.float32)
    (ours,), (theirs,) = programs.ours(path, x), programs.reference(path, x)
    assert ours.dtype == np.uint16
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("clipped", [True, False])
def test_sums_that_32_bits_may_not_hold_are_refused(tmp_path: Path, clipped: bool) -> None:
    m = QdqModel(opset=21, dtype="int16")
    made = m.conv(m.q(m.input("x", 1, 2, 1, 1), scale=1e-4, zero=0), 900, 2, 1, 1, out="a")
    if clipped:  # to codes of 14 bits
        bounds = (m.const(sign * 8191e-4, "float32") for sign in (-1, 1))
        made = m.op("Clip", made, *bounds, out="near")
    weight = m.const(np.full((4, 900, 1, 1), 127), "int8")
    scales, zeros = m.const(np.full(4, 0.01), "float32"), m.const(np.zeros(4), "int8")
    filters = m.op("DequantizeLinear", weight, scales, zeros, out="w", axis=0)
    conv = m.op("Conv", m.q(made, scale=1e-4, zero=0), filters, out="c")
    graph, floats = lowered(m.save(tmp_path / "m.onnx", m.q(conv, scale=0.01, zero=0)))
    assert every(graph, Conv2d)[-1].on_floats != clipped
    assert list(floats) == ([] if clipped else ["c"])
    assert all(each.startswith("32 bits may not hold its sums") for each in floats.values())


def test_operators_without_a_kernel_say_so(tmp_path: Path) -> None:
    m = QdqModel(opset=21, dtype="int16")
    x = m.q(m.input("x", 1, 8), scale=1e-4, zero=0)
    y = m.q(m.op("Softmax", x, out="s"), scale=1e-4, zero=0)
    _, floats = lowered(m.save(tmp_path / "m.onnx", y))
    assert floats == {"s": "Softmax of codes of 16 bits has no integer kernel"}


@pytest.mark.parametrize("kind", ["Add", "Mul"])
def test_bytes_beside_words_are_widened_exactly(tmp_path: Path, kind: str) -> None:
    m = QdqModel(opset=21)
    a = m.q(m.input("a", 1, 4, 5, 5), scale=0.01, zero=-100)
    b = m.q(m.input("b", 1, 4, 5, 5), scale=1e-4, zero=3, dtype="int16")
    y = m.q(m.op(kind, a, b, out="y"), scale=1e-4, zero=0, dtype="int16")
    path = m.save(tmp_path / "m.onnx", y)
    graph, floats = lowered(path)
    assert floats == {}
    assert "requantize" in kinds(graph)
    rng = np.random.default_rng(0)
    given = [rng.normal(0, 1, (1, 4, 5, 5)).astype(np.float32) for _ in range(2)]
    (ours,), (theirs,) = programs.ours(path, *given), programs.reference(path, *given)
    np.testing.assert_array_equal(ours, theirs)


def test_a_constant_without_a_sign_begins_at_0_where_no_zero_point_says_otherwise(
    tmp_path: Path,
) -> None:
    m = QdqModel(opset=21, dtype="uint16")
    x = m.q(m.input("x", 1, 4, 5, 5), scale=1e-4, zero=1 << 15)
    codes = m.const([[[[0]], [[1]], [[40000]], [[65535]]]], "uint16")
    constant = m.op("DequantizeLinear", codes, m.const(1e-4, "float32"), out="k")
    y = m.q(m.op("Add", x, constant, out="s"), scale=2e-4, zero=20000)
    path = m.save(tmp_path / "m.onnx", y)
    assert lowered(path)[1] == {}
    given = np.random.default_rng(0).normal(0, 1, (1, 4, 5, 5)).astype(np.float32)
    (ours,), (theirs,) = programs.ours(path, given), programs.reference(path, given)
    np.testing.assert_array_equal(ours, theirs)


def test_words_that_are_dequantized_by_several_scales_keep_their_type(tmp_path: Path) -> None:
    m = QdqModel(opset=21, dtype="uint16")
    scale, zero = m.const(1e-4, "float32"), m.const(30000, "uint16")
    m.op("QuantizeLinear", m.input("x", 1, 4, 6, 6), scale, zero, out="q")
    scales, zeros = m.const(np.full(4, 1e-4), "float32"), m.const(np.full(4, 30000), "uint16")
    floats = m.op("DequantizeLinear", "q", scales, zeros, out="f", axis=1)
    path = m.save(tmp_path / "m.onnx", m.op("Relu", floats, out="y"))
    x = np.random.default_rng(0).normal(0, 2, (1, 4, 6, 6)).astype(np.float32)
    (ours,), (theirs,) = programs.ours(path, x), programs.reference(path, x)
    np.testing.assert_array_equal(ours, theirs)


# 181² codes from their zero point at an end, and 255² from one in the middle, are the most.
@pytest.mark.parametrize(
    ("zero", "size", "fits"),
    [(0, 255, True), (0, 257, False), (-32768, 181, True), (32767, 182, False)],
)
@pytest.mark.parametrize("kind", ["GlobalAveragePool", "AveragePool", "ReduceMean"])
def test_means_whose_sums_32_bits_may_not_hold_are_refused(
    tmp_path: Path, zero: int, size: int, fits: bool, kind: str
) -> None:
    m = QdqModel(opset=21, dtype="int16")
    shape: tuple[int, ...] = (1, 2, size, size + (kind == "AveragePool"))
    if kind == "ReduceMean":
        shape = (1, size * size, 2)
    axes = [m.const([1], "int64")] if kind == "ReduceMean" else []
    window: dict[str, Any] = {"kernel_shape": [size, size]} if kind == "AveragePool" else {}
    x = m.q(m.input("x", *shape), scale=1e-4, zero=zero)
    y = m.q(m.op(kind, x, *axes, out="mean", **window), scale=1e-4, zero=zero)
    path = m.save(tmp_path / "m.onnx", y)
    reasons = lowered(path)[1]
    assert reasons == ({} if fits else {"mean": "32 bits may not hold the sums of its windows"})
    for end in (-(1 << 15), (1 << 15) - 1) if fits else ():  # the code of all, and of their mean
        (ours,) = programs.ours(path, np.full(shape, (end - zero) * 1e-4, np.float32))
        np.testing.assert_allclose(ours, (end - zero) * 1e-4, rtol=0, atol=2.01e-4)
