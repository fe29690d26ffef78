"""Operators of codes in QDQ form give ONNX Runtime's codes for the operators themselves."""

from typing import Any

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.qdq_form import in_qdq_form
from tests.compiler.float_models import make, write
from tests.compiler.onnx_model.same_numbers import by_onnxruntime, operators, parsed

rng = np.random.default_rng(4)
A = {"as": np.float32(0.021), "az": np.uint8(120)}
B = {"bs": np.float32(0.034), "bz": np.uint8(131)}
C = {"cs": np.float32(0.05), "cz": np.uint8(128)}
S = {"ss": np.float32(1 / 256), "sz": np.uint8(0)}


def codes(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


def weights(*shape: int) -> np.ndarray:
    """Codes of 7 bits: on processors without VNNI, ONNX Runtime's integer kernels add pairs of
    products of larger ones in 16 bits, which is too few.
    """
    return rng.integers(-63, 64, shape).astype(np.int8)


# A node, the shape of its first operand, and its constants.
CASES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "conv": (
        "y = QLinearConv <pads = [1, 1, 1, 1]> (x, as, az, w, ws, wz, cs, cz, b)",
        (1, 3, 6, 6),
        {
            **A,
            **C,
            "w": weights(4, 3, 3, 3),
            "ws": np.array([0.001, 0.002, 0.0007, 0.004], np.float32),
            "wz": np.zeros(4, np.int8),
            "b": rng.integers(-9000, 9000, 4).astype(np.int32),
        },
    ),
    "matmul": (
        "y = QLinearMatMul (x, as, az, w, ws, wz, cs, cz)",
        (5, 6),
        {**A, **C, "w": codes(6, 4), "ws": np.float32(0.004), "wz": np.uint8(127)},
    ),
    "gemm": (
        "y = com.microsoft.QGemm <transB = 1> (x, as, az, w, ws, wz, b, cs, cz)",
        (5, 6),
        {
            **A,
            **C,
            "w": weights(4, 6),
            "ws": np.array([0.002, 0.001, 0.003, 0.0015], np.float32),
            "wz": np.zeros(4, np.int8),
            "b": rng.integers(-9000, 9000, 4).astype(np.int32),
        },
    ),
    "add": (
        "y = com.microsoft.QLinearAdd (x, as, az, w, bs, bz, cs, cz)",
        (4, 7),
        {**A, **B, **C, "w": codes(4, 7)},
    ),
    "mul": (
        "y = com.microsoft.QLinearMul (x, as, az, w, bs, bz, cs, cz)",
        (4, 7),
        {**A, **B, **C, "w": codes(4, 7)},
    ),
    "sigmoid": ("y = com.microsoft.QLinearSigmoid (x, as, az, ss, sz)", (4, 7), {**A, **S}),
    "leaky": (
        "y = com.microsoft.QLinearLeakyRelu <alpha = 0.1> (x, as, az, cs, cz)",
        (4, 7),
        {**A, **C},
    ),
    "global pool": (
        "y = com.microsoft.QLinearGlobalAveragePool (x, as, az, cs, cz)",
        (1, 3, 5, 4),
        {**A, **C},
    ),
    "pool": (
        "y = com.microsoft.QLinearAveragePool <kernel_shape = [3, 2]> (x, as, az, cs, cz)",
        (1, 3, 5, 4),
        {**A, **C},
    ),
    "concat": (
        "y = com.microsoft.QLinearConcat <axis = 1> (cs, cz, x, as, az, w, bs, bz)",
        (4, 7),
        {**A, **B, **C, "w": codes(4, 3)},
    ),
    "softmax": (
        "y = com.microsoft.QLinearSoftmax <opset = 13> (x, as, az, ss, sz)",
        (4, 7),
        {**A, **S},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_qdq_form_gives_the_same_codes(case: str) -> None:
    """A tie, or a sum that is rounded in another order, is one code off."""
    body, shape, constants = CASES[case]
    extents = ", ".join(map(str, shape))
    results = ", ".join("NMKL"[: len(shape)])
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n'
        f"g (uint8[{extents}] x) => (uint8[{results}] y) {{ {body} }}"
    )
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    x = codes(*shape)
    (expected,) = by_onnxruntime(model, {"x": x})
    assert in_qdq_form(model) == 1
    assert operators(model)[-1] == "QuantizeLinear"
    assert not [name for name in operators(model) if name.startswith(("QLinear", "QGemm"))]
    (found,) = by_onnxruntime(model, {"x": x})
    off = np.abs(found.astype(int) - expected.astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.1


def test_an_image_with_its_channels_last_stays() -> None:
    body = (
        "y = com.microsoft.QLinearGlobalAveragePool <channels_last = 1> (x, as, az, cs, cz)"
    )  # fmt: skip
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n'
        f"g (uint8[1, 5, 4, 3] x) => (uint8[N, M, K, L] y) {{ {body} }}"
    )
    assert in_qdq_form(model) == 0


def test_scales_of_float16_are_taken_as_float32() -> None:
    half = {"as": np.float16(0.02), "az": np.uint8(7), "ws": np.float16(0.03), "wz": np.uint8(9)}
    half |= {"cs": np.float16(0.05), "cz": np.uint8(99), "w": codes(6, 4)}
    text = (
        "g (uint8[5, 6] x) => (uint8[N, M] y) { y = QLinearMatMul (x, as, az, w, ws, wz, cs, cz) }"
    )
    model = parsed(text, **half)
    x = codes(5, 6)
    in_qdq_form(model)
    (found,) = by_onnxruntime(model, {"x": x})
    real = (x - 7.0) @ (half["w"] - 9.0) * (float(half["as"]) * float(half["ws"]))
    expected = np.clip(np.rint(real / float(half["cs"])) + 99, 0, 255)
    assert np.abs(found - expected).max() <= 1


def test_one_number_and_a_row_of_one_are_the_same(tmp_path):
    """ONNX Runtime's quantizer writes both for the bias of a layer with one output."""
    constants = {"s": np.ones((1,), np.float32), "z": np.zeros((), np.int8)}
    body = "q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, s, z)"
    model = make(body, {}, x="1, 4", y="1, 4", constants=constants)
    assert len(io.load_model(write(model, tmp_path / "m.onnx")).graph.node) == 2
