"""A written-out recurrent cell's products are integers; what lies between, and its state, float."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import door, io
from edgekiln.compiler.onnx_model.equivalents import write_in_others
from edgekiln.compiler.onnx_model.rewriting import facts_of
from edgekiln.compiler.quantization import qdq, recurrent_cells
from edgekiln.compiler.quantization.prepare import prepare
from tests.compiler import quantizing, stateful
from tests.compiler.float_models import make

GATES = {"Sigmoid", "Tanh", "Mul"}


def kinds_of(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """The operators that become integers, and those that stay float."""
    chosen = {node.name for node in qdq.quantized_nodes(model, ())}
    return (
        [node.op_type for node in model.graph.node if node.name in chosen],
        [node.op_type for node in model.graph.node if node.name not in chosen],
    )


@pytest.mark.parametrize(("kind", "products"), [("lstm", 3), ("gru", 4)])
def test_gates_stay_float_and_products_do_not(kind: str, products: int, tmp_path: Path) -> None:
    written_out = io.load_model(stateful.remembering(kind, tmp_path / "m.onnx"))
    assert write_in_others(written_out)
    model = prepare(written_out)
    integers, floats = kinds_of(model)
    assert sum(each in ("Gemm", "MatMul") for each in integers) == products
    assert set(floats) >= GATES
    assert not set(integers) & GATES
    found = recurrent_cells.cells(facts_of(model), model.graph.node)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    assert found.sums
    assert {makers[name] for name in found.sums} <= {"Gemm", "MatMul"}


@pytest.mark.parametrize(
    "body",
    [
        # A gate of channels, as of squeeze and excitation, before a residual.
        "s = Sigmoid (a)\n g = Mul (s, a)\n m = Add (g, b)",
        "t = Tanh (a)\n m = Add (t, b)",
        "p = Mul (a, b)\n m = Add (p, p)",
    ],
)
def test_what_is_no_cell_becomes_integer(body: str) -> None:
    text = f"""
        a = Conv <kernel_shape = [3, 3]> (x, w1)
        b = Conv <kernel_shape = [3, 3]> (x, w2)
        {body}
        p1 = GlobalAveragePool (m)
        f = Flatten (p1)
        y = Gemm <transB = 1> (f, w3)
    """
    shapes = {"w1": (4, 3, 3, 3), "w2": (4, 3, 3, 3), "w3": (10, 4)}
    assert kinds_of(prepare(make(text, shapes, x="N, 3, 8, 8")))[1] == []


PACKED = f"""
<ir_version: 8, opset_import: ["" : 20]>
packed (float[1, 1, {stateful.WIDTH}] x, float[2, 1, {stateful.HIDDEN}] state)
  => (float[1, 3] y, float[2, 1, {stateful.HIDDEN}] stateN) {{
    h0 = Gather <axis = 0> (state, zero)
    c0 = Gather <axis = 0> (state, first)
    h = Unsqueeze (h0, axes)
    c = Unsqueeze (c0, axes)
    all, hn, cn = LSTM <hidden_size = {stateful.HIDDEN}> (x, w, r, b, nothing, h, c)
    stateN = Concat <axis = 0> (hn, cn)
    row = Reshape (hn, shape)
    y = Gemm <transB = 1> (row, v, u)
}}
"""


def test_a_state_that_packs_two_has_no_scale_of_both(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(PACKED)
    for node in model.graph.node:
        node.input[:] = ["" if name == "nothing" else name for name in node.input]
    model.graph.initializer.extend(stateful.plain("lstm").graph.initializer)
    for name, value in {"zero": 0, "first": 1, "axes": [0]}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    path = tmp_path / "m.onnx"
    io.save_model(model, path)
    io.save_model(door.enter(path).model, path)
    data = stateful.streams("lstm", tmp_path / "streams.npy")
    quantized, metrics, _ = quantizing.quantize(path, data=str(data))
    coded = {node.input[0] for node in quantized.graph.node if node.op_type == "QuantizeLinear"}
    assert "state" not in coded
    (last,) = (node for node in quantized.graph.node if "stateN" in node.output)
    assert last.op_type == "Concat"
    assert metrics["sqnr_db"] > 30
