"""Codes of 16 bits: what becomes integer, and what is refused by which reason."""

from pathlib import Path

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
