"""What is written in other operators computes the same, and is gone afterwards."""

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.equivalents import write_in_others
from tests.compiler.onnx_model.same_numbers import (
    assert_same_numbers,
    by_onnxruntime,
    by_reference,
    operators,
    parsed,
)

rng = np.random.default_rng(3)
X = rng.normal(0, 2, (2, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("values", ["constant", "given"])
def test_a_one_hot_is_a_comparison_with_each_class(axis: int, values: str) -> None:
    """Negative indices count from the end, others outside are of no class."""
    constants = {"depth": np.array(5)}
    if values == "constant":
        constants["values"] = np.array([2.0, 7.0], np.float32)
    extra = "" if values == "constant" else ", float[2] values"
    model = parsed(
        f"g (int32[2, 3] x{extra}) => (float[N, M, K] y) "
        f"{{ y = OneHot <axis = {axis}> (x, depth, values) }}",
        **constants,
    )
    feeds = {"x": np.array([[0, 4, -1], [-5, 2, 9]], np.int32)}
    if values == "given":
        feeds["values"] = np.array([0.5, -3.0], np.float32)
    after = assert_same_numbers(model, write_in_others, **feeds)
    assert "OneHot" not in operators(after)


@pytest.mark.parametrize("opset", [11, 13, 21])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("largest", [0, 1])
def test_the_first_of_equals_is_the_first_of_the_top(axis: int, largest: int, opset: int) -> None:
    model = parsed(
        "g (int32[3, 4] x) => (int32[N, M] y, int64[N, M] i) "
        f"{{ y, i = TopK <axis = {axis}, largest = {largest}> (x, k) }}",
        opset,
        k=np.array([2]),
    )
    x = np.array([[1, 5, 5, -2], [0, 0, 0, 0], [-1, -7, 9, -1]], np.int32)
    after = assert_same_numbers(model, write_in_others, x=x)
    assert "TopK" not in operators(after)


@pytest.mark.parametrize(
    ("base", "exponent"),
    [
        ("float", "int64"),
        ("float", "uint32"),
        ("float", "double"),
        ("int32", "float"),
        ("int64", "int64"),
        ("int32", "int32"),
    ],
)
def test_a_power_is_of_one_type(base: str, exponent: str) -> None:
    model = parsed(f"g ({base}[4] x, {exponent}[4] e) => ({base}[4] y) {{ y = Pow (x, e) }}")
    names = {"float": "float32", "double": "float64"}
    feeds = {
        "x": np.array([1, 2, 3, 7]).astype(names.get(base, base)),
        "e": np.array([4, 5, 2, 0]).astype(names.get(exponent, exponent)),
    }
    assert_same_numbers(model, write_in_others, **feeds)
    kinds = {"float": "float32"}.get(base, "float64")
    assert kinds.startswith("float")
    assert write_in_others(model) == 0


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_truth_values_have_a_greatest_and_a_least(op: str) -> None:
    model = parsed(
        f"g (bool[3, 4] x) => (bool[N, M] y) {{ y = {op} (x, axes) }}", axes=np.array([1])
    )
    assert_same_numbers(model, write_in_others, x=rng.random((3, 4)) < 0.3)


@pytest.mark.parametrize("negative", [0, 1])
@pytest.mark.parametrize("positive", [0, 1])
def test_infinity_is_looked_for_by_its_sign(negative: int, positive: int) -> None:
    flags = f"detect_negative = {negative}, detect_positive = {positive}"
    model = parsed(f"g (float[5] x) => (bool[5] y) {{ y = IsInf <{flags}> (x) }}")
    x = np.array([np.inf, -np.inf, np.nan, 0, 3e38], np.float32)
    after = assert_same_numbers(model, write_in_others, x=x)
    assert ("IsInf" in operators(after)) == bool(negative and positive)


@pytest.mark.parametrize("opset", [13, 22])
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0])
def test_a_vector_is_divided_by_its_length(axis: int, p: int, opset: int) -> None:
    model = parsed(
        f"g (float[2, 3, 4] x) => (float[2, 3, 4] y) "
        f"{{ y = LpNormalization <axis = {axis}, p = {p}> (x) }}",
        opset,
    )
    # The reference forgets the magnitudes where p is 1.
    after = assert_same_numbers(model, write_in_others, run=by_onnxruntime, x=X)
    assert "LpNormalization" not in operators(after)


def test_what_has_no_length_stays_zero() -> None:
    model = parsed("g (float[2, 4] x) => (float[2, 4] y) { y = LpNormalization (x) }")
    write_in_others(model)
    (found,) = by_reference(model, {"x": np.array([[0] * 4, [3, 4, 0, 0]], np.float32)})
    np.testing.assert_array_equal(found[0], np.zeros(4, np.float32))
    np.testing.assert_allclose(found[1], [0.6, 0.8, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("opset", [7, 10, 12, 21])
def test_the_mask_of_a_dropout_is_all_true_and_was_all_false(opset: int) -> None:
    kind = "bool" if opset >= 10 else "float"
    model = parsed(
        f"g (float[2, 3, 4] x) => (float[2, 3, 4] y, {kind}[2, 3, 4] mask) "
        "{ y, mask = Dropout (x) }",
        opset,
    )
    assert write_in_others(model) == 1
    y, mask = by_reference(model, {"x": X})
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(
        mask, np.full(X.shape, opset >= 12, "bool" if opset >= 10 else "float32")
    )


def test_a_type_like_another_tensors_is_a_type() -> None:
    model = parsed("g (float[3] x, int8[7] like) => (int8[3] y) { y = CastLike (x, like) }")
    feeds = {"x": np.array([1.7, -2.2, 3], np.float32), "like": np.zeros(7, np.int8)}
    assert operators(assert_same_numbers(model, write_in_others, **feeds)) == ["Cast"]


@pytest.mark.parametrize("dtype", ["float16", "double"])
@pytest.mark.parametrize("op", ["Celu", "Elu", "Swish"])
def test_a_function_of_other_floats_is_written_out(op: str, dtype: str) -> None:
    model = parsed(f"g ({dtype}[6] x) => ({dtype}[6] y) {{ y = {op} <alpha = 0.7> (x) }}", 28)
    x = rng.normal(0, 2, 6).astype({"double": "float64"}.get(dtype, dtype))
    after = assert_same_numbers(model, write_in_others, rtol=4e-3, x=x)
    assert op not in operators(after)


@pytest.mark.parametrize("points", [{}, {"xz": np.uint8(3), "wz": np.array([1, 4], np.uint8)}])
def test_a_convolution_of_integers_is_exact(points: dict[str, np.ndarray]) -> None:
    model = parsed(
        "g (uint8[1, 3, 5, 5] x) => (int32[1, 2, N, M] y) "
        f"{{ y = ConvInteger <pads = [1, 1, 1, 1]> (x, w{''.join(f', {n}' for n in points)}) }}",
        w=rng.integers(0, 256, (2, 3, 3, 3)).astype(np.uint8),
        **{name: np.asarray(value) for name, value in points.items()},
    )
    x = rng.integers(0, 256, (1, 3, 5, 5)).astype(np.uint8)
    zero, zeros = int(points.get("xz", 0)), np.asarray(points.get("wz", [0, 0]), np.int64)
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]).astype(np.int64)
    weights -= zeros.reshape(2, 1, 1, 1)
    padded = np.pad(x.astype(np.int64) - zero, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    write_in_others(model)
    (found,) = by_reference(model, {"x": x})
    np.testing.assert_array_equal(found, np.einsum("nchwij,ocij->nohw", windows, weights))
    assert found.dtype == np.int32


def test_parts_without_elements_are_left_out() -> None:
    model = parsed(
        "g (float[2, 3, 4] x) => (float[2, 3, 4] y) "
        "{ a, none = Split <axis = 2> (x, sizes)\n y = Concat <axis = 2> (a, none) }",
        sizes=np.array([4, 0]),
    )

    def rewrite(model):
        return write_in_others(model) + write_in_others(model)

    assert operators(assert_same_numbers(model, rewrite, x=X)) == ["Identity", "Identity"]


@pytest.mark.parametrize("shape", ["2, 3, 4, 5", "2, 3, 7", "1, 3, 2, 4, 3"])
def test_an_instance_norm_is_one_of_rows_with_slopes_behind(shape: str) -> None:
    extents = [int(extent) for extent in shape.split(",")]
    model = parsed(
        f"g (float[{shape}] x) => (float[{shape}] y) "
        "{ y = InstanceNormalization <epsilon = 0.01> (x, s, b) }",
        s=np.array([0.5, -2, 3], np.float32), b=np.array([1, 0, -1], np.float32),
    )  # fmt: skip
    x = np.random.default_rng(4).normal(1, 3, extents).astype(np.float32)
    after = assert_same_numbers(model, write_in_others, run=by_onnxruntime, x=x)
    assert "InstanceNormalization" not in operators(after)
    assert "LayerNormalization" in operators(after)


def test_an_instance_norm_stays_where_there_is_no_layer_norm() -> None:
    model = parsed(
        "g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = InstanceNormalization (x, s, b) }", 16,
        s=np.ones(3, np.float32), b=np.zeros(3, np.float32),
    )  # fmt: skip
    assert write_in_others(model) == 0
