"""Reshapes from one image to another, and codes that are read with another scale."""

from pathlib import Path

import numpy as np
import pytest

from tests.compiler import float_models
from tests.compiler.lowering.programs import images, ours, reference
from tests.compiler.qdq_models import QdqModel


def convolved(m: QdqModel) -> str:
    """The codes of a convolution's result, (1, 8, 6, 6), which lie channels-last."""
    x = m.q(m.input("x", 1, 4, 6, 6))
    m.q(m.conv(x, 8, 4, 3, 3, out="c", pads=[1, 1, 1, 1]), scale=0.1, zero=3)
    return "c_q"


@pytest.mark.parametrize("shape", [(1, 4, 6, 12), (1, 2, 12, 12), (2, 4, 6, 6)])
def test_an_image_becomes_one_of_other_extents(tmp_path: Path, shape: tuple[int, ...]) -> None:
    m = QdqModel()
    convolved(m)
    image = m.op("Reshape", "c_dq", m.const(shape, "int64"), out="image")
    y = m.q(m.conv(image, 5, shape[1], 3, 3, out="y", pads=[1, 1, 1, 1]), scale=0.3, zero=2)
    model, x = m.save(tmp_path / "m.onnx", y), images(1, 4, 6, 6)
    np.testing.assert_array_equal(ours(model, x)[0], reference(model, x)[0])


@pytest.mark.parametrize("reader", ["Conv <pads = [1, 1, 1, 1]> (r, v)", "GlobalMaxPool (r)"])
def test_an_image_of_floats_does_so_too(tmp_path: Path, reader: str) -> None:
    weights = {"w": (8, 4, 1, 1), "v": (5, 4, 3, 3)}
    model = float_models.make(
        f"c = Conv (x, w)\n r = Reshape (c, s)\n y = {reader}\n",
        {name: shape for name, shape in weights.items() if name == "w" or "(r, v)" in reader},
        x="1, 4, 6, 6", y="1, a, b, c", constants={"s": np.array([1, 4, 6, 12])},
    )  # fmt: skip
    path, x = float_models.write(model, tmp_path / "m.onnx"), images(1, 4, 6, 6)
    np.testing.assert_allclose(ours(path, x)[0], reference(path, x)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("border", [0, 1])
@pytest.mark.parametrize("reader", ["Conv", "MaxPool", "Softmax", "output"])
def test_codes_read_with_another_scale_stay_what_they_are(
    tmp_path: Path, reader: str, border: int, dtype: str
) -> None:
    m = QdqModel(dtype=dtype)
    codes = convolved(m)
    scale, zero = m.const(0.07, "float32"), m.const(5, dtype)
    y = m.op("DequantizeLinear", codes, scale, zero, out="other")
    m.scales["other"] = float(np.float32(0.07))
    pads = [border] * 4
    match reader:
        case "Conv":
            y = m.q(m.conv("other", 5, 8, 3, 3, out="y", pads=pads), scale=0.3, zero=2)
        case "MaxPool":
            y = m.op("MaxPool", "other", out="y", kernel_shape=[2, 2], pads=pads)
        case "Softmax":
            y = m.op("Softmax", "other", out="y")
        case _:
            pass
    model, x = m.save(tmp_path / "m.onnx", y, "c_dq"), images(1, 4, 6, 6)
    (found, codes_too), (expected, right) = ours(model, x), reference(model, x)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(codes_too, right)
