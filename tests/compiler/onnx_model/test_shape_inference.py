"""Shapes follow, and following them ends."""

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import rewriting, shape_inference


def layer(op: str, gates: int, results: str) -> onnx.ModelProto:
    """A layer without a bias or lengths, but with a first state: operands are left out between."""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 14]> m (float[3, 1, 2] x) => (float[1, 1, 4] last) '
        f"{{ {results} = {op} <hidden_size = 4> (x, w, r, , , first) }}"
    )
    for name, shape in {"w": (1, gates * 4, 2), "r": (1, gates * 4, 4), "first": (1, 1, 4)}.items():
        array = np.ones(shape, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


@pytest.mark.parametrize(
    ("op", "gates", "results"),
    [("GRU", 3, ", last"), ("LSTM", 4, ", last, "), ("RNN", 1, ", last")],
)
def test_a_result_and_an_operand_that_are_both_left_out_are_not_one_tensor(
    op: str, gates: int, results: str
) -> None:
    """Nobody makes what has no name, so waiting for its length would never end."""
    model = layer(op, gates, results)
    assert model.graph.node[0].output[0] == ""
    found = shape_inference.inferred(model).graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in found] == [1, 1, 4]
    assert "" not in rewriting.facts_of(model).readers
