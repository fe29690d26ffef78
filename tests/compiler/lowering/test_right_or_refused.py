"""Programs compute what ONNX says, or the model is refused by the name of what is wrong."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgekiln.runtime.errors import EdgeKilnError, UnsupportedError
from tests.compiler import float_models
from tests.compiler.lowering.programs import images, ours, program, reference
from tests.compiler.qdq_models import QdqModel


@pytest.mark.parametrize("value", [-1.0, 7.0, 0.333, -3e38])
@pytest.mark.parametrize("quantized", [True, False], ids=["quantized", "float"])
def test_a_pad_writes_its_constant_in_the_scale_in_which_it_is_used(
    tmp_path: Path, value: float, quantized: bool
) -> None:
    m = QdqModel()
    x = m.q(
        m.op("Relu", m.q(m.input("x", 1, 4, 6, 6), 0.0517), out="relu"), scale=0.0237, zero=-128
    )
    amounts, fill = m.const([0, 0, 1, 2, 0, 0, 1, 0], "int64"), m.const(value, "float32")
    padded = m.op("Pad", x, amounts, fill, out="padded")
    if quantized:
        padded = m.q(m.op("Relu", padded, out="r") if value == 7.0 else padded, 0.0911, 10)
    y = m.op("MaxPool", padded, out="y", kernel_shape=[2, 2])
    model = m.save(tmp_path / "m.onnx", y)
    x_value = images(1, 4, 6, 6)
    (found,), (expected,) = ours(model, x_value), reference(model, x_value)
    np.testing.assert_array_equal(found, expected)


def test_an_output_that_the_model_names_twice_is_there_twice(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 8, 8))
    y = m.q(m.conv(x, 4, 3, 3, 3, out="y"))
    path = m.save(tmp_path / "m.onnx", y)
    model = onnx.load(path)
    model.graph.output.append(model.graph.output[0])
    first, second = ours(float_models.write(model, path), images(1, 3, 8, 8))
    assert first.any()
    np.testing.assert_array_equal(first, second)


def test_the_zero_point_of_a_bias_counts(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 8, 8))
    weight, scales = m.weight(4, 3, 1, 1)
    scale = np.float32(m.scales[x]) * scales
    zeros = np.array([1000, -3000, 0, 500])
    bias = m.op(
        "DequantizeLinear", m.const([10, 2000, -3000, 7], "int32"), m.const(scale, "float32"),
        m.const(zeros, "int32"), out="bias", axis=0,
    )  # fmt: skip
    y = m.q(m.op("Conv", x, weight, bias, out="y"), scale=0.3)
    model = m.save(tmp_path / "m.onnx", y)
    x_value = images(1, 3, 8, 8)
    expected = ReferenceEvaluator(onnx.load(model)).run(None, {"x": x_value})
    assert isinstance(expected, list)
    (found,) = ours(model, x_value)
    assert (np.abs(found - expected[0]) > 0.01).mean() < 0.02  # a code more or less at a tie
    assert np.abs(found - expected).max() < 0.31


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [([(0.5, -0.1)], -0.1), ([(0.0, 6.0), (7.0, 9.0)], 7.0), ([(7.0, 9.0), (0.0, 6.0)], 6.0)],
)
@pytest.mark.parametrize("behind", ["Conv", "MaxPool"])
def test_clips_that_leave_one_value_leave_that(
    tmp_path: Path, bounds: list[tuple[float, float]], expected: float, behind: str
) -> None:
    """Of min > max, max; of two ranges without a common value, the second one's nearest."""
    lines = ["a = Conv (x, w)" if behind == "Conv" else "a = MaxPool <kernel_shape = [1, 1]> (x)"]
    constants = {}
    for i, (low, high) in enumerate(bounds):
        constants[f"low{i}"] = np.array(low, np.float32)
        constants[f"high{i}"] = np.array(high, np.float32)
        lines.append(f"c{i} = Clip ({'a' if i == 0 else f'c{i - 1}'}, low{i}, high{i})")
    lines.append(f"y = MaxPool <kernel_shape = [1, 1]> (c{len(bounds) - 1})")
    weights: dict[str, tuple[int, ...]] = {"w": (3, 3, 1, 1)} if behind == "Conv" else {}
    model = float_models.make(
        "\n".join(lines) + "\n", weights, x="1, 3, 4, 4", y="1, 3, 4, 4", constants=constants
    )
    path = float_models.write(model, tmp_path / "m.onnx")
    (found,) = ours(path, images(1, 3, 4, 4))
    np.testing.assert_array_equal(found, np.full((1, 3, 4, 4), expected, np.float32))


@pytest.mark.parametrize(("bounds", "code"), [([(1, -1)], -1), ([(3, 4), (0, 2)], 2)])
def test_quantized_clips_that_leave_one_value_leave_that(
    tmp_path: Path, bounds: list[tuple[float, float]], code: float
) -> None:
    m = QdqModel()
    y = m.q(m.input("x", 1, 4, 4, 4), scale=0.0937, zero=3)
    for i, (low, high) in enumerate(bounds):
        y = m.op("Clip", y, m.const(low, "float32"), m.const(high, "float32"), out=f"clip{i}")
    model = m.save(tmp_path / "m.onnx", m.q(y, scale=0.0513, zero=0))
    x = images(1, 4, 4, 4)
    (found,), (expected,) = ours(model, x), reference(model, x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, code, atol=0.03)


def test_a_mask_that_nobody_uses_is_forgotten(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 9]>\n'
        "m (float[1, 8] x) => (float[1, 8] y) {\n"
        "  r = Relu (x)\n  d, mask = Dropout <ratio = 0.5> (r)\n  y = Exp (d)\n}"
    )
    path = float_models.write(model, tmp_path / "m.onnx")
    x = images(1, 8)
    np.testing.assert_allclose(ours(path, x)[0], np.exp(np.maximum(x, 0)), rtol=1e-5)


def test_a_class_token_that_is_expanded_and_quantized_is_concatenated(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 8), scale=0.0517, zero=3)
    token = m.const(np.linspace(-2, 2, 8).reshape(1, 1, 8), "float32")
    wide = m.op("Expand", token, m.const([1, 1, 8], "int64"), out="expand")
    joined = m.op("Concat", m.q(wide, 0.0411, -5), x, out="joined", axis=1)
    model = m.save(tmp_path / "m.onnx", m.q(joined, scale=0.0633, zero=1))
    x_value = images(1, 4, 8)
    (found,), (expected,) = ours(model, x_value), reference(model, x_value)
    np.testing.assert_array_equal(found, expected)


def test_weights_may_come_as_floats_that_the_model_quantizes(tmp_path: Path) -> None:
    """As quantization-aware training writes them."""
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 6, 6))
    floats = m.const(m.rng.normal(0, 0.3, (4, 3, 3, 3)), "float32")
    scale, zero = m.const(np.full(4, 0.01), "float32"), m.const(np.zeros(4), "int8")
    codes = m.op("QuantizeLinear", floats, scale, zero, out="w_q", axis=0)
    weight = m.op("DequantizeLinear", codes, scale, zero, out="w_dq", axis=0)
    model = m.save(tmp_path / "m.onnx", m.q(m.op("Conv", x, weight, out="y"), scale=0.2))
    result = program(model)
    assert [layer.op for layer in result.spec.layers if "conv" in layer.op]
    x_value = images(1, 3, 6, 6)
    found, expected = result.run(x_value)[0], reference(model, x_value)[0]
    assert (np.abs(found - expected) > 0.01).mean() < 0.02


@pytest.mark.parametrize("extent", [15, 16, 17])
def test_a_transposed_convolution_may_say_the_shape_of_its_result(
    tmp_path: Path, extent: int
) -> None:
    """TVM's importer leaves `output_shape` out of account, and would write over the end."""
    model = float_models.make(
        f"y = ConvTranspose <output_shape = [{extent}, {extent}], strides = [2, 2]> (x, w)\n",
        {"w": (3, 4, 3, 3)},
        x="1, 3, 8, 8",
        y=f"1, 4, {extent}, {extent}",
    )
    path, x = float_models.write(model, tmp_path / "m.onnx"), images(1, 3, 8, 8)
    (found,), (expected,) = ours(path, x), reference(path, x)
    assert found.shape == (1, 4, extent, extent)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_output_shape_beyond_what_there_is_is_refused(tmp_path: Path) -> None:
    model = float_models.make(
        "y = ConvTranspose <output_shape = [20, 20], strides = [2, 2]> (x, w)\n",
        {"w": (3, 4, 3, 3)},
        x="1, 3, 8, 8",
        y="1, 4, 20, 20",
    )
    path = float_models.write(model, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match=r"attribute output_shape = \[20, 20\] is not"):
        program(path)


@pytest.mark.parametrize("words", ['"nearest"', '"linear"', '"linear", antialias = 1'])
def test_a_resize_by_a_factor_that_cuts_a_pixel_places_pixels_by_the_factor(
    tmp_path: Path, words: str
) -> None:
    factors = {"f": np.array([1, 1, 0.6, 2], np.float32)}
    model = float_models.make(
        f"y = Resize <mode = {words}> (x, , f)\n", {}, x="1, 1, 4, 4", y="1, 1, 2, 8",
        constants=factors,
    )  # fmt: skip
    path, x = float_models.write(model, tmp_path / "m.onnx"), images(1, 1, 4, 4)
    expected = ReferenceEvaluator(model).run(None, {"x": x})
    assert isinstance(expected, list)
    np.testing.assert_allclose(ours(path, x)[0], expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operands", ["x", "x, a, b"])
def test_max_and_min_take_any_number_of_operands(tmp_path: Path, operands: str) -> None:
    constants = {"a": np.array(-1, np.float32), "b": np.array(0.5, np.float32)}
    used = {name: value for name, value in constants.items() if name in operands}
    model = float_models.make(
        f"m = Max ({operands})\n y = Min (m{operands[1:]})\n", {}, x="1, 8", y="1, 8",
        constants=used,
    )  # fmt: skip
    x = images(1, 8)
    (found,) = ours(float_models.write(model, tmp_path / "m.onnx"), x)
    expected = x if operands == "x" else np.full_like(x, -1)
    np.testing.assert_array_equal(found, expected)


def test_a_power_of_integers_is_cut_to_an_integer(tmp_path: Path) -> None:
    """Half of a whole number: numpy refuses it, ONNX Runtime gives 0."""
    constants = {"two": np.array([2]), "less": np.array([-1])}
    body = "i = Pow (two, less)\n f = Cast <to = 1> (i)\n y = Add (x, f)\n"
    model = float_models.make(body, {}, x="1, 2", y="1, 2", constants=constants)
    path, x = float_models.write(model, tmp_path / "m.onnx"), images(1, 2)
    np.testing.assert_array_equal(ours(path, x)[0], reference(path, x)[0])
    np.testing.assert_array_equal(ours(path, x)[0], x)


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("quantized", [True, False], ids=["quantized", "float"])
def test_a_value_a_channel_meets_its_channel_where_nothing_is_an_image(
    tmp_path: Path, op: str, quantized: bool
) -> None:
    """Four axes in ONNX's order: the channels are rows of the kernel, not its last axis."""
    m = QdqModel()
    a, b = m.input("x", 2, 4, 8, 8), m.const(np.linspace(-2, 2, 4).reshape(1, 4, 1, 1), "float32")
    gate = m.op("Mul", m.op("ReduceMax", a, m.const([2, 3], "int64"), out="most"), b, out="gate")
    if quantized:
        y = m.q(m.op(op, m.q(a, 0.0517), m.q(gate, 0.0933), out="y"), scale=0.2171)
    else:
        y = m.op(op, a, gate, out="y")
    model = m.save(tmp_path / "m.onnx", y)
    x = images(2, 4, 8, 8)
    (found,), (expected,) = ours(model, x), reference(model, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [2e6, -2e6, 1.07e6])
def test_a_bias_beyond_32_bits_at_the_scale_of_the_sums_counts(tmp_path: Path, bias: float) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 6, 5), scale=0.05)
    weight, _ = m.weight(5, 4, 3, 3)
    values = m.const([bias, -bias, 1.0, 0.0, 5.0], "float32")
    y = m.q(m.op("Conv", x, weight, values, out="conv"), scale=0.07)
    model = m.save(tmp_path / "m.onnx", y)
    x_value = images(1, 4, 6, 5)
    (found,), (expected,) = ours(model, x_value), reference(model, x_value)
    np.testing.assert_array_equal(found, expected)


def test_a_weight_may_be_an_output_too(tmp_path: Path) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> m (float[1, 2, 3, 3] x) => '
        "(float[1, 1, 3, 3] y, float[1, 2, 1, 1] w) "
        "<float[1, 2, 1, 1] w = {0.5, -2}> {y = Conv (x, w)}"
    )
    onnx.save(onnx.parser.parse_model(text), path := tmp_path / "m.onnx")
    x = np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3)
    result, weight = ours(path, x)
    np.testing.assert_allclose(result, 0.5 * x[:, :1] - 2 * x[:, 1:], rtol=1e-6)
    np.testing.assert_array_equal(weight.ravel(), [0.5, -2])


@pytest.mark.parametrize("op", ["Sqrt", "Log"])
def test_codes_without_a_result_are_the_lowest_code(tmp_path: Path, op: str) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 40), scale=0.05, zero=3)
    y = m.q(m.op(op, x, out="root"), scale=0.07, zero=3)
    model = m.save(tmp_path / "m.onnx", y)
    x_value = np.linspace(-5, 5, 40, dtype=np.float32).reshape(1, 40)
    (found,), (expected,) = ours(model, x_value), reference(model, x_value)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scale", [3e36, np.inf, np.nan, -1.0])
def test_a_scale_that_no_codes_have_is_refused(tmp_path: Path, scale: float) -> None:
    """Products of what they would stand for are infinite: each engine makes another code of it."""
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 8, 8))
    path = m.save(tmp_path / "m.onnx", m.q(m.conv(x, 4, 3, 3, 3, out="y")))
    model = onnx.load(path)
    node = next(n for n in model.graph.node if n.op_type == "Conv")
    made = next(n for n in model.graph.node if node.input[1] in n.output)
    weight = next(w for w in model.graph.initializer if w.name == made.input[1])
    numbers = onnx.numpy_helper.to_array(weight).copy()
    numbers.reshape(-1)[-1] = scale
    told = str(float(numbers.reshape(-1)[-1]))
    weight.CopyFrom(onnx.numpy_helper.from_array(numbers, weight.name))
    onnx.save(model, path)
    with pytest.raises(
        EdgeKilnError, match=f"has a scale of {re.escape(told)}|holds NaN or infinity"
    ):
        program(path)
