"""Outputs that nothing computes, operands that a machine takes badly, and the words of refusals."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgekiln.runtime.errors import UnsupportedError
from tests.compiler import float_models
from tests.compiler.lowering.programs import images, ours, parsed, program, reference
from tests.compiler.qdq_models import QdqModel


def test_the_mask_of_a_dropout_is_all_true(tmp_path: Path) -> None:
    path = parsed(
        tmp_path,
        "m (float[1, 8] x) => (float[1, 8] y, bool[1, 8] mask) {\n"
        "  r = Relu (x)\n  y, mask = Dropout (r)\n}",
    )
    x = images(1, 8)
    y, mask = ours(path, x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    assert mask.dtype == bool
    assert mask.all()


def test_the_mean_of_a_layer_norm_is_there_where_it_is_used(tmp_path: Path) -> None:
    path = parsed(
        tmp_path,
        "m (float[1, 4, 8] x) => (float[1, 4, 8] y, float[1, 4, 1] mean, float[1, 4, 1] dev) {\n"
        "  y, mean, dev = LayerNormalization (x, s)\n}",
        s=np.linspace(0.5, 2, 8).astype(np.float32),
    )
    x = images(1, 4, 8)
    y, mean, deviation = ours(path, x)
    expected = reference(path, x)
    np.testing.assert_allclose(y, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean, expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(deviation, expected[2], rtol=1e-4, atol=1e-5)


def test_an_input_or_a_constant_that_is_an_output_is_there(tmp_path: Path) -> None:
    path = parsed(
        tmp_path,
        "m (float[1, 8] x) => (float[1, 8] y, float[1, 8] x, float[2] k, int64[2] shape) {\n"
        "  k = Constant <value = float[2] {1.0, 2.0}> ()\n  y = Relu (x)\n  shape = Shape (x)\n}",
    )
    x = images(1, 8)
    y, same, constant, shape = ours(path, x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(constant, np.array([1, 2], np.float32))
    np.testing.assert_array_equal(shape, np.array([1, 8]))


def test_codes_that_are_constant_may_stand_for_an_output(tmp_path: Path) -> None:
    m = QdqModel()
    y = m.q(m.op("Relu", m.q(m.input("x", 1, 4)), out="r"))
    path = m.save(tmp_path / "m.onnx", y)
    model = onnx.load(path)
    codes = onnx.numpy_helper.from_array(np.array([-7, 0, 100], np.int8), "codes")
    scale = onnx.numpy_helper.from_array(np.array(0.5, np.float32), "step")
    model.graph.initializer.extend([codes, scale])
    node = onnx.helper.make_node("DequantizeLinear", ["codes", "step"], ["real"])
    model.graph.node.append(node)
    kind = onnx.TensorProto.FLOAT
    model.graph.output.append(onnx.helper.make_tensor_value_info("real", kind, [3]))
    _, real = ours(float_models.write(model, path), images(1, 4))
    np.testing.assert_array_equal(real, np.array([-3.5, 0, 50], np.float32))


def test_a_model_without_an_input_is_refused(tmp_path: Path) -> None:
    path = parsed(
        tmp_path, "m () => (float[2] k) { k = Constant <value = float[2] {1.0, 2.0}> () }"
    )
    with pytest.raises(UnsupportedError, match=r"m\.onnx: the model has no input"):
        program(path)


def test_an_index_outside_takes_the_nearest_value_inside(tmp_path: Path) -> None:
    """A program has no way to report an error, and must not read or write other memory."""
    path = parsed(
        tmp_path,
        "m (float[3, 4] x, int64[2] i) => (float[2, 4] y, float[3, 4] z) {\n"
        "  y = Gather (x, i)\n  j = Unsqueeze (i, one)\n  z = ScatterND (x, j, y)\n}",
        one=np.array([1]),
    )
    x = images(3, 4)
    y, z = program(path).run(x, np.array([2**40, -(2**40)]))
    np.testing.assert_array_equal(y, x[[2, 0]])
    np.testing.assert_array_equal(z, x)


def test_a_division_of_integers_by_zero_does_not_end_the_process(tmp_path: Path) -> None:
    path = parsed(
        tmp_path,
        "m (int32[5] x, int32[5] d) => (int32[5] q, int32[5] r) "
        "{ q = Div (x, d)\n r = Mod <fmod = 1> (x, d) }",
    )
    least = np.iinfo(np.int32).min
    x, d = np.array([7, -7, 9, least, 5], np.int32), np.array([2, 2, 0, -1, -1], np.int32)
    q, r = program(path).run(x, d)
    np.testing.assert_array_equal(q, np.array([3, -3, 9, least, -5], np.int32))
    np.testing.assert_array_equal(r, np.array([1, -1, 0, 0, 0], np.int32))


def test_a_remainder_of_floats_has_the_sign_of_the_divisor_and_all_digits(tmp_path: Path) -> None:
    path = parsed(
        tmp_path, "m (float[8] x, float[8] d) => (float[8] y) { y = Mod (x, d) }", opset=28
    )
    infinity = np.float32(np.inf)
    x = np.array([-4.3, 7.2, 5, 1e9, -3, 3, 1, np.nan], np.float32)
    d = np.array([2.1, -3.4, 8, 0.3, infinity, infinity, 0, 2], np.float32)
    with np.errstate(invalid="ignore"):
        expected = np.mod(x, d)
    np.testing.assert_array_equal(program(path).run(x, d)[0], expected)


def test_the_least_integer_equals_itself(tmp_path: Path) -> None:
    least = np.iinfo(np.int32).min
    path = parsed(
        tmp_path,
        "m (int32[3] x) => (bool[3] y) { y = Equal (x, least) }",
        least=np.array(least, np.int32),
    )
    (found,) = ours(path, np.array([7, -least - 1, least], np.int32))
    np.testing.assert_array_equal(found, [False, False, True])


@pytest.mark.parametrize(
    ("shape", "call", "result"),
    [
        ("3, 8", "Slice <axes = [1], starts = [2], ends = [7]> (x)", "3, 5"),
        ("3, 8", "LpNormalization <axis = 1> (x)", "3, 8"),
        ("5, 1, 3", "GRU <hidden_size = 4, clip = 0.5> (x, w, r)", "5, 1, 1, 4"),
    ],
    ids=["Slice", "LpNormalization", "GRU"],
)
def test_operators_as_they_were_in_2018(tmp_path: Path, shape: str, call: str, result: str) -> None:
    draw = np.random.default_rng(1)
    weights = {
        name: draw.normal(size=(1, 12, width)).astype(np.float32)
        for name, width in (("w", 3), ("r", 4))
        if name in call
    }
    path = parsed(
        tmp_path, f"m (float[{shape}] x) => (float[{result}] y) {{ y = {call} }}",
        opset=7, **weights,
    )  # fmt: skip
    x = images(*map(int, shape.split(",")))
    np.testing.assert_allclose(ours(path, x)[0], reference(path, x)[0], atol=1e-6)


def test_the_greatest_as_they_were_looked_for_in_2018(tmp_path: Path) -> None:
    path = parsed(
        tmp_path, "m (float[3, 8] x) => (float[3, 2] y, int64[3, 2] i) { y, i = TopK <k = 2> (x) }",
        opset=7,
    )  # fmt: skip
    x = images(3, 8)
    (y, i), expected = ours(path, x), reference(path, x)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(i, expected[1])


def test_truth_values_are_compared(tmp_path: Path) -> None:
    path = parsed(
        tmp_path,
        "m (bool[4] x, bool[4] z) => (bool[4] y, bool[4] k) "
        "{ y = Equal (x, z)\n k = Equal (x, known) }",
        known=np.array([True]),
    )
    x, z = np.array([False, False, True, True]), np.array([False, True, False, True])
    y, k = program(path).run(x, z)
    np.testing.assert_array_equal(y, [True, False, False, True])
    np.testing.assert_array_equal(k, x)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "Max", "Min", "ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_rows_of_infinities_have_a_greatest_and_a_least(tmp_path: Path, op: str, last: int) -> None:
    """TVM begins with the greatest finite number, and looks for places from -1 on."""
    call, kind = {
        "Max": ("Max (x, z)", "float[3, 4]"),
        "Min": ("Min (x, z)", "float[3, 4]"),
        "ArgMax": (f"ArgMax <axis = 1, select_last_index = {last}> (x)", "int64[3, 1]"),
        "ArgMin": (f"ArgMin <axis = 1, select_last_index = {last}> (x)", "int64[3, 1]"),
    }.get(op, (f"{op} (x, axes)", "float[3, 1]"))
    path = parsed(
        tmp_path, f"m (float[3, 4] x, float[3, 4] z) => ({kind} y) {{ y = {call} }}",
        opset=18, axes=np.array([1]),
    )  # fmt: skip
    x = np.array([[-np.inf] * 4, [np.inf] * 4, [1, -np.inf, np.inf, 2]], np.float32)
    z = x[[0, 1, 0]]
    expected = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x, "z": z})
    assert isinstance(expected, list)
    np.testing.assert_array_equal(program(path).run(x, z)[0], expected[0])


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_shift_by_all_bits_and_more_leaves_nothing_but_the_sign(
    tmp_path: Path, direction: str, dtype: str
) -> None:
    path = parsed(
        tmp_path,
        f"m ({dtype}[4] x, {dtype}[4] by) => ({dtype}[4] y) "
        f'{{ y = BitShift <direction = "{direction}"> (x, by) }}',
        opset=28,
    )
    x, by = np.array([100, 37, -8, -128]).astype(dtype), np.array([8, 1, 9, 100], dtype)
    expected = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x, "by": by})
    assert isinstance(expected, list)
    np.testing.assert_array_equal(program(path).run(x, by)[0], expected[0])


def test_a_refusal_names_the_operator_its_types_and_its_attributes(tmp_path: Path) -> None:
    path = parsed(
        tmp_path,
        "m (float[1, 2, 4, 4] x) => (float[1, 2, 2, 2] y, int64[1, 2, 2, 2] i) {\n"
        "  r = Softsign (x)\n  y, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)\n}",
    )
    with pytest.raises(UnsupportedError) as caught:
        program(path)
    assert caught.value.message == (
        "operator MaxPool ('y') of float32[1, 2, 4, 4] ('r') with kernel_shape = [2, 2], "
        "strides = [2, 2], with the result 'i', too, is not supported"
    )
    assert "docs/operators.md" in caught.value.hint


def test_a_refusal_names_the_operands_that_should_be_constant(tmp_path: Path) -> None:
    path = parsed(tmp_path, "m (float[5] x, int32 axis) => (float[5] y) { y = CumSum (x, axis) }")
    with pytest.raises(UnsupportedError) as caught:
        program(path)
    assert caught.value.message == (
        "operator CumSum ('y') of float32[5] ('x'), int32[] ('axis') is not supported"
    )
    assert caught.value.hint.startswith("make constants of axis, or write this part of the model")


def test_what_decides_a_shape_at_run_time_is_named(tmp_path: Path) -> None:
    path = parsed(
        tmp_path, "m (float[2, 3] x, int64[2] s) => (float[N, M] y) { y = Reshape (x, s) }"
    )
    with pytest.raises(UnsupportedError) as caught:
        program(path)
    assert caught.value.message == (
        f"{path}: operator Reshape ('y'): the shape of its result depends on the values of 's'"
    )


@pytest.mark.parametrize("zero", ["uint8", "int8"])
def test_a_zero_point_that_is_computed_is_taken(tmp_path: Path, zero: str) -> None:
    path = parsed(
        tmp_path,
        f"m (float[5] x, float s, {zero} z) => ({zero}[5] q, float[5] y) "
        "{ q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, s, z) }",
        opset=21,
    )
    x, scale, point = images(5), np.array(0.05, np.float32), np.array(7, zero)
    q, y = program(path).run(x, scale, point)
    expected = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x, "s": scale, "z": point})
    assert isinstance(expected, list)
    np.testing.assert_array_equal(q, expected[0])
    np.testing.assert_allclose(np.asarray(y, np.float64), expected[1], rtol=1e-6)
