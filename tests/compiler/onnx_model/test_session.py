import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import UnsupportedError
from tests.compiler.float_models import make, residual
from tests.compiler.qdq_models import QdqModel


def test_outputs_are_picked_by_name():
    session = Session(residual(), optimize=True)
    assert session.outputs == ("y",)
    (y,) = session(np.zeros((2, 3, 32, 32), np.float32), ["y"])
    assert y.shape == (2, 10)


def test_a_batch_the_model_cannot_reshape_is_explained(capfd):
    model = make(
        "y = Reshape (x, shape)", {}, x="N, 4", y="1, 4", constants={"shape": np.array([1, 4])}
    )
    session = Session(model, optimize=True)
    with pytest.raises(UnsupportedError) as caught:
        session(np.zeros((3, 4), np.float32))
    assert caught.value.message.startswith("ONNX Runtime fails on input x (3, 4): Non-zero status")
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 4
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed(capfd):
    Session(residual(), optimize=False)(np.zeros((1, 3, 32, 32), np.float32))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("optimize", [False, True])
def test_a_vector_behind_a_transpose_is_multiplied_as_onnx_says(optimize):
    """ONNX Runtime 1.32 joins the two and gives other numbers."""
    rng = np.random.default_rng(0)
    vector, x = (rng.normal(size=shape).astype(np.float32) for shape in ((8,), (1, 8, 6)))
    model = make(
        "t = Transpose <perm = [0, 2, 1]> (x)\n y = MatMul (t, v)", {}, x="1, 8, 6", y="1, 6",
        constants={"v": vector},
    )  # fmt: skip
    (y,) = Session(model, optimize=optimize)(x)
    np.testing.assert_allclose(y, x.transpose(0, 2, 1) @ vector, rtol=1e-5, atol=1e-6)


def test_float_weights_between_codes_stay_floats(tmp_path):
    """ONNX Runtime 1.32 makes int8 of them: what a layer left in float keeps was not seen."""
    m = QdqModel(opset=21)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(8, 4, 1, 1)).astype(np.float32)
    x = m.q(m.input("x", 1, 4, 6, 6), scale=0.02, zero=0)
    conv = m.op("Conv", x, m.const(weights, "float32"), out="c")
    m.q(m.op("Relu", conv, out="r"), scale=0.05, zero=-128)
    model = onnx.load(m.save(tmp_path / "m.onnx", "r_dq", "x_dq", "c"))
    given = rng.normal(size=(1, 4, 6, 6)).astype(np.float32)
    _, data, sums = Session(model, optimize=False)(given)
    exact = np.einsum("oi,nihw->nohw", weights[:, :, 0, 0], data, dtype=np.float64)
    np.testing.assert_allclose(sums, exact, atol=1e-5)
