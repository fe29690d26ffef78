"""Functions of one code become one lookup table, with the same bits."""

from pathlib import Path

import numpy as np

from edgekiln.compiler.ir.ops import Lookup
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    only,
)
from tests.compiler.qdq_models import QdqModel

CODES = np.arange(-128, 128)


def test_hard_swish_is_one_lookup(tmp_path: Path) -> None:
    """As exporters and the quantizer leave it: a gate with its own quantization, a product."""
    m = QdqModel()
    x = m.q(m.input("x", 1, 16), scale=0.05, zero=3)
    gate = m.q(m.op("HardSigmoid", x, out="gate", alpha=1 / 6, beta=0.5), 1 / 255, -128)
    y = m.q(m.op("Mul", x, gate, out="swish"), 0.031, -120)
    graph = before("fuse_lookups", m.save(tmp_path / "m.onnx", y))
    assert_changes_once("fuse_lookups", graph)
    assert kinds(graph) == ["quantize", "lookup", "dequantize"]
    real = (CODES - 3) * 0.05
    swish = real * np.clip(real / 6 + 0.5, 0, 1)
    expected = np.clip(np.rint(swish / 0.031) - 120, -128, 127)
    entries = only(graph, Lookup).table.entries
    assert np.abs(entries - expected).max() <= 1  # the gate's own rounding


def test_a_lookup_behind_a_lookup_is_one(tmp_path: Path) -> None:
    m = QdqModel()
    once = m.q(m.op("Tanh", m.q(m.input("x", 1, 16)), out="once"), 0.01, 0)
    y = m.q(m.op("Sigmoid", once, out="twice"), 1 / 255, -128)
    graph = before("fuse_lookups", m.save(tmp_path / "m.onnx", y))
    assert_changes_once("fuse_lookups", graph)
    assert kinds(graph) == ["quantize", "lookup", "dequantize"]


def test_a_product_with_one_number_is_one_lookup(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 5, 16), scale=0.05, zero=3)
    quant = m.const(0.01, "float32"), m.const(-128, "int8")
    factor = m.op("DequantizeLinear", m.const([-80], "int8"), *quant, out="factor")
    y = m.q(m.op("Mul", factor, x, out="scaled"), scale=0.02, zero=-7)
    graph = before("fuse_lookups", m.save(tmp_path / "m.onnx", y))
    assert_changes_once("fuse_lookups", graph)
    assert kinds(graph) == ["quantize", "lookup", "dequantize"]
    expected = np.clip(np.rint((CODES - 3) * 0.05 * 0.48 / 0.02) - 7, -128, 127)
    assert np.array_equal(only(graph, Lookup).table.entries, expected)


def test_a_product_of_two_values_stays_a_product(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 3, 3))
    pool = m.q(m.op("GlobalAveragePool", x, out="pool"))
    gate = m.q(m.op("Sigmoid", pool, out="gate"), 1 / 255, -128)
    y = m.q(m.op("Mul", x, gate, out="y"))
    graph = before("fuse_lookups", m.save(tmp_path / "m.onnx", y))
    assert_leaves_alone("fuse_lookups", graph)
    assert kinds(graph) == ["quantize", "global_avg_pool", "lookup", "mul", "dequantize"]
