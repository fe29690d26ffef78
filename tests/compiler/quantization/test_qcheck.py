"""The check itself: it must see each way a QDQ model can break the contract."""

import numpy as np
import onnx
import pytest

from edgekiln.compiler.quantization import qcheck
from tests.compiler.float_models import make


def qdq_gemm(**changed: np.ndarray) -> onnx.ModelProto:
    """DQ → Gemm → output, by the book, but for the constants given."""
    scales = np.linspace(0.01, 0.02, 4).astype(np.float32)
    constants = {
        "sx": np.float32(0.5),
        "zx": np.int8(-3),
        "w": np.arange(-12, 12, dtype=np.int8).reshape(4, 6),
        "sw": scales,
        "zw": np.zeros(4, np.int8),
        "b": np.arange(4, dtype=np.int32),
        "sb": np.float32(0.5) * scales,
        "zb": np.zeros(4, np.int32),
    }
    return make(
        """
        q = QuantizeLinear (x, sx, zx)
        d = DequantizeLinear (q, sx, zx)
        dw = DequantizeLinear <axis = 0> (w, sw, zw)
        db = DequantizeLinear <axis = 0> (b, sb, zb)
        y = Gemm <transB = 1> (d, dw, db)
        """,
        {},
        x="N, 6",
        y="N, 4",
        constants=constants | changed,
    )


def test_a_model_by_the_book_has_no_violation():
    structure = qcheck.inspect(qdq_gemm())
    assert structure == qcheck.Structure(integer=("y",), floats=(), violations=())


@pytest.mark.parametrize(
    ("changed", "violation"),
    [
        (
            {"w": np.zeros((4, 6), np.uint8), "zw": np.zeros(4, np.uint8)},
            "y: its weights are uint8, not int8",
        ),
        ({"zw": np.array([0, 0, 1, 0], np.int8)}, "y: its weights are not symmetric"),
        (
            {"sw": np.float32(0.01), "zw": np.int8(0)},
            "y: its weights have one scale, not one per channel",
        ),
        (
            {"sb": np.full(4, 0.3, np.float32)},
            "y: its bias's scale is not the product of the other two",
        ),
        ({"sx": np.float32(0)}, "q: its scale is not positive"),
    ],
)
def test_a_broken_promise_is_named(changed, violation):
    assert violation in qcheck.inspect(qdq_gemm(**changed)).violations


def test_an_operation_on_real_numbers_is_float():
    structure = qcheck.inspect(make("h = Relu (x)\n y = Softmax (h)", {}, x="N, 4", y="N, 4"))
    assert structure.integer == ()
    assert [(op.name, op.reason) for op in structure.floats] == [
        ("h", "its input 'x' is float"),
        ("y", "its input 'h' is float"),
    ]


def test_an_operation_is_told_to_be_float_for_the_sake_of_accuracy():
    model = make(
        "a = Conv <kernel_shape = [3, 3]> (x, w)\n y = Flatten (a)",
        {"w": (2, 3, 3, 3)},
        y="N, 1800",
    )
    found = qcheck.inspect(model, exclude=("a",), spared=("a",)).floats
    assert found[0].name == "a"
    assert found[0].reason == "for what the limits demand"
