import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.gemm import gemm_from_matmul
from edgekiln.compiler.onnx_model.session import Session
from tests.compiler.float_models import make

X = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("add", ["y = Add (m, b)", "y = Add (b, m)"])
def test_a_linear_layer_on_a_sequence_becomes_a_gemm(add):
    model = make(f"m = MatMul (x, w)\n {add}", {"w": (6, 4), "b": (4,)}, x="N, 5, 6", y="N, 5, 4")
    before = Session(model, optimize=True)(X)[0]
    assert gemm_from_matmul(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert operators(model) == ["Reshape", "Gemm", "Reshape"]
    assert model.graph.node[1].name == "m"
    np.testing.assert_allclose(Session(model, optimize=True)(X)[0], before, rtol=1e-5, atol=1e-6)


def test_two_layers_may_share_their_weights():
    model = make(
        "m = MatMul (x, w)\n a = Add (m, b)\n n = MatMul (a, w)\n y = Add (n, b)",
        {"w": (6, 6), "b": (6,)},
        x="N, 5, 6",
        y="N, 5, 6",
    )
    before = Session(model, optimize=True)(X)[0]
    assert gemm_from_matmul(model) == 2
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(Session(model, optimize=True)(X)[0], before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "weights", "y"),
    [
        ("y = MatMul (x, w)", {"w": (6, 4)}, "N, 5, 4"),
        ("m = MatMul (x, w)\n y = Add (m, x)", {"w": (6, 6)}, "N, 5, 6"),
        ("m = MatMul (x, w)\n y = Add (m, b)", {"w": (6, 4), "b": (5, 4)}, "N, 5, 4"),
        ("m = MatMul (x, w)\n y = Add (m, m)", {"w": (6, 4)}, "N, 5, 4"),
        (
            "t = Transpose <perm = [0, 2, 1]> (x)\n m = MatMul (x, t)\n y = Add (m, b)",
            {"b": (5,)},
            "N, 5, 5",
        ),
    ],
    ids=["no bias", "residual", "matrix", "twice", "attention"],
)
def test_what_is_no_linear_layer_stays(body, weights, y):
    model = make(body, weights, x="N, 5, 6", y=y)
    before = operators(model)
    assert gemm_from_matmul(model) == 0
    assert operators(model) == before
