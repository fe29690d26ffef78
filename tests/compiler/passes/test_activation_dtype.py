"""Codes become unsigned or signed, and mean what they meant."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.ir.linear import Conv2d
from edgekiln.compiler.ir.ops import Lookup
from edgekiln.compiler.passes.pipeline import PassSettings
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    lowered,
    only,
)
from tests.compiler.qdq_models import QdqModel

UINT8 = PassSettings(activation="uint8")


def test_all_that_holds_codes_moves_with_the_zero_point(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 5, 5), scale=0.1, zero=10)
    wide = m.op("Pad", x, m.const([0, 0, 1, 0, 0, 0, 1, 0], "int64"), out="wide")
    y = m.q(m.op("Sigmoid", wide, out="s"), scale=1 / 255, zero=-128)
    graph = before("unsigned_codes", m.save(tmp_path / "m.onnx", y), UINT8)
    entries = only(graph, Lookup).table.entries
    assert_changes_once("unsigned_codes", graph)
    moved = only(graph, Lookup).table.entries
    np.testing.assert_array_equal(moved, entries.astype(int) + 128)
    (pad,) = (node.op for node in graph.nodes if node.op.kind == "pad")
    assert str(pad.fill) == "138"  # type: ignore[attr-defined]
    assert {t.dtype for t in graph.tensors.values() if t.quant} == {"uint8"}


def test_codes_that_fit_already_are_left_alone(tmp_path: Path) -> None:
    m = QdqModel()
    path = m.save(tmp_path / "m.onnx", m.q(m.op("Sigmoid", m.q(m.input("x", 1, 4)), out="s")))
    assert_leaves_alone("signed_codes", before("signed_codes", path))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integer_inputs_keep_their_type_at_the_edge(tmp_path: Path, dtype: str) -> None:
    m = QdqModel(dtype=dtype)
    kind = {"int8": 3, "uint8": 2}[dtype]
    m.input("x_q", 1, 3, 4, 4, dtype=kind)
    s, z = m.const(0.05, "float32"), m.const(3, dtype)
    m.scales["x_dq"] = float(np.float32(0.05))
    m.op("DequantizeLinear", "x_q", s, z, out="x_dq")
    m.op("QuantizeLinear", m.conv("x_dq", 4, 3, 1, 1, out="y"), s, z, out="y_q")
    graph = lowered(m.save(tmp_path / "m.onnx", "y_q"), "uint8")
    assert graph.tensors["x_q"].dtype == graph.tensors["y_q"].dtype == dtype
    (conv,) = (node for node in graph.nodes if isinstance(node.op, Conv2d))
    assert graph.tensors[conv.inputs[0]].dtype == "uint8"
