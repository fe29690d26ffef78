"""A Resize that neither a rule nor TVM knows is products, or picks values, along each axis."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.onnx_model import resize, shape_inference
from edgekiln.runtime.errors import UnsupportedError
from tests.compiler.onnx_model.same_numbers import (
    assert_same_numbers,
    by_onnxruntime,
    by_reference,
    operators,
    parsed,
)

COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
)  # fmt: skip


def resized(words: str, operands: str, rank: int = 4, opset: int = 19, **constants: np.ndarray):
    axes = ", ".join("NMKLJ"[:rank])
    extents = ", ".join(("1", "2", "7", "5", "3")[:rank])
    return parsed(
        f"g (float[{extents}] x) => (float[{axes}] y) {{ y = Resize <{words}> ({operands}) }}",
        opset,
        **constants,
    )


@st.composite
def ways(draw: st.DrawFn) -> tuple[str, str]:
    """Mode and coordinates, and attributes that go with them."""
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    words = [f'mode = "{mode}"']
    antialias = 0 if mode == "nearest" else draw(st.integers(0, 1))
    # ONNX's reference, which judges antialiasing, takes extents that are no whole numbers in these.
    rounded = ["align_corners", "pytorch_half_pixel"] if antialias else []
    if mode == "nearest":  # 7·0.6 = 4.2 puts a pixel so near to the middle that a bit decides
        rounded = ["half_pixel_symmetric"]
    coordinates = [name for name in COORDINATES if name not in rounded]
    words.append(f'coordinate_transformation_mode = "{draw(st.sampled_from(coordinates))}"')
    if mode == "nearest":
        rounding = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        words.append(f'nearest_mode = "{draw(st.sampled_from(rounding))}"')
    else:
        words.append(f"antialias = {antialias}")
        if antialias or mode == "cubic":
            words.append(f"exclude_outside = {draw(st.integers(0, 1))}")
    if mode == "cubic":
        words.append(f"cubic_coeff_a = {draw(st.sampled_from([-0.75, -0.5]))}")
    return ", ".join(words), mode


@settings(deadline=None)
@given(
    way=ways(),
    factors=st.tuples(*[st.sampled_from([0.3, 0.6, 0.8, 1.0, 1.3, 2.0, 2.7])] * 2),
)
def test_any_way_by_any_factor_computes_what_onnx_says(
    way: tuple[str, str], factors: tuple[float, float]
) -> None:
    words, mode = way
    model = resized(words, "x, , f", f=np.array([1, 1, *factors], np.float32))
    x = np.random.default_rng(0).normal(size=(1, 2, 7, 5)).astype(np.float32)
    before = operators(model)
    reference = any(word in words for word in ("antialias = 1", "pixel_symmetric"))
    run = by_reference if reference else by_onnxruntime
    after = assert_same_numbers(model, resize.in_products, rtol=1e-4, run=run, x=x)
    if operators(after) == before:  # whole pixels, which a rule or TVM makes
        return
    assert set(operators(after)) <= {"Gather", "Identity", "MatMul", "Transpose"}
    assert ("Gather" in operators(after)) <= (mode == "nearest")


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_an_aspect_ratio_is_kept(policy: str, mode: str) -> None:
    model = resized(
        f'mode = "{mode}", keep_aspect_ratio_policy = "{policy}", axes = [2, 3]', "x, , , s",
        s=np.array([10, 9]),
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(1, 2, 7, 5)).astype(np.float32)
    after = assert_same_numbers(model, resize.in_products, rtol=1e-4, x=x)
    assert "Resize" not in operators(after)


@pytest.mark.parametrize("axes", [[3], [2, 3], [3, 2], [3, 1]])
def test_only_the_axes_that_are_named_are_resized(axes: list[int]) -> None:
    model = resized(f'mode = "linear", axes = {axes}', "x, , , s", s=np.array([4, 9][: len(axes)]))
    x = np.random.default_rng(0).normal(size=(1, 2, 7, 5)).astype(np.float32)
    after = assert_same_numbers(model, resize.in_products, rtol=1e-4, x=x)
    assert "Resize" not in operators(after)


@pytest.mark.parametrize("axes", [[2, 3], [3, 2]])
def test_a_part_of_an_image_is_resized(axes: list[int]) -> None:
    """What lies outside is zero, the default; another number is no product."""
    words = f'mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize", axes = {axes}'
    corners = {"roi": np.array([0.4, 0.6, 0.6, 1.2], np.float32), "s": np.array([3, 3])}
    x = np.random.default_rng(0).normal(size=(1, 2, 7, 5)).astype(np.float32)
    after = assert_same_numbers(
        resized(words, "x, roi, , s", **corners), resize.in_products, rtol=1e-4, x=x
    )
    assert "Resize" not in operators(after)
    other = resized(f"{words}, extrapolation_value = 10.0", "x, roi, , s", **corners)
    assert resize.in_products(other) == 0
    with pytest.raises(UnsupportedError, match=r"Resize \('y'\): its attribute axes is not"):
        resize.check(other, "m.onnx")


CROP = 'coordinate_transformation_mode = "tf_crop_and_resize"'
ALIGNED = 'mode = "cubic", coordinate_transformation_mode = "align_corners"'
JUST_OUTSIDE = np.array([0, 0, 0.0388, 0.1566, 1, 1, 1.0644, 0.8136], np.float32)


@pytest.mark.parametrize(
    ("words", "operands", "constants"),
    [
        (CROP, "x, roi, , s", {"roi": JUST_OUTSIDE, "s": np.array([1, 2, 9, 4])}),
        (f'mode = "linear", {CROP}', "x, roi, , s", {"roi": JUST_OUTSIDE, "s": [1, 2, 9, 4]}),
        (
            f'{ALIGNED}, axes = [3, 2], keep_aspect_ratio_policy = "not_larger"',
            "x, , , s",
            {"s": np.array([3, 7])},
        ),
    ],
)
def test_what_the_reference_has_wrong_is_as_onnxruntime_has_it(
    words: str, operands: str, constants: dict[str, np.ndarray]
) -> None:
    model = resized(words, operands, **{k: np.asarray(v) for k, v in constants.items()})
    x = np.random.default_rng(0).normal(size=(1, 2, 7, 5)).astype(np.float32)
    (right,) = by_onnxruntime(model, {"x": x})
    assert resize.in_products(model)
    (ours,) = by_onnxruntime(model, {"x": x})
    np.testing.assert_allclose(ours, right, rtol=1e-4, atol=1e-5)


def test_integers_are_picked_but_not_mixed() -> None:
    text = (
        "g (uint8[1, 2, 7, 5] x) => (uint8[N, M, K, L] y) "
        '{ y = Resize <mode = "MODE"> (x, , f) }'
    )  # fmt: skip
    factors = np.array([1, 1, 0.6, 1.3], np.float32)
    x = np.random.default_rng(0).integers(0, 256, (1, 2, 7, 5)).astype(np.uint8)
    nearest = parsed(text.replace("MODE", "nearest"), 19, f=factors)
    assert "Gather" in operators(assert_same_numbers(nearest, resize.in_products, x=x))
    linear = parsed(text.replace("MODE", "linear"), 19, f=factors)
    assert resize.in_products(linear) == 0
    with pytest.raises(UnsupportedError, match=r"makes no whole pixels of \[1, 2, 7, 5\]"):
        resize.check(linear, "m.onnx")


def test_a_resize_of_old_places_pixels_as_it_did_then() -> None:
    """Before opset 11 there was one way: coordinates divided by the factor, rounded down."""
    for op, opset in (("Resize", 10), ("Upsample", 9)):
        model = parsed(
            f'g (float[1, 1, 2, 3] x) => (float[N, M, K, L] y) {{ y = {op} <mode = "linear"> '
            "(x, f) }",
            opset,
            f=np.array([1, 1, 2, 2], np.float32),
        )
        assert resize.in_products(model) == 1
        x = np.array([[[[0, 2, 4], [10, 12, 14]]]], np.float32)
        (found,) = by_reference(model, {"x": x})
        top = [0, 1, 2, 3, 4, 4]
        middle, bottom = ([value + more for value in top] for more in (5, 10))
        np.testing.assert_allclose(found[0, 0], [top, middle, bottom, bottom], rtol=1e-6)


@pytest.mark.parametrize("way", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("factor", [1.1, 1.3, 0.7, 1 / 3, 2 / 3])
def test_pixels_in_the_middle_fall_where_onnx_runtime_lets_them(way: str, factor: float) -> None:
    """Rounded down, places such as 11 / 1.1 hang on the last bit of a quotient."""
    text = (
        f'g (float[1, 1, 30] x) => (float[N, M, K] y) {{ y = Resize <mode = "nearest", '
        f'coordinate_transformation_mode = "{way}", nearest_mode = "floor"> (x, , f) }}'
    )
    model = parsed(text, 19, f=np.array([1, 1, factor], np.float32))
    x = np.arange(30, dtype=np.float32)[None, None]
    after = assert_same_numbers(model, resize.in_products, run=by_onnxruntime, x=x)
    assert operators(after) == ["Gather"]


@pytest.mark.parametrize(
    ("extent", "factor", "made"), [(20, 1.3, 26), (10, 0.7, 7), (100, 0.29, 29)]
)
def test_a_factor_that_float32_makes_smaller_gives_the_extent_that_was_meant(
    extent: int, factor: float, made: int
) -> None:
    text = f"g (float[1, 1, {extent}] x) => (float[N, M, K] y) {{ y = Resize (x, , f) }}"
    model = parsed(text, 19, f=np.array([1, 1, factor], np.float32))
    found = shape_inference.inferred(model)
    assert found.graph.output[0].type.tensor_type.shape.dim[2].dim_value == made
    assert found.graph.initializer[0] == model.graph.initializer[0]


def test_corners_that_cannot_be_aligned_are_refused() -> None:
    words = 'mode = "linear", coordinate_transformation_mode = "align_corners"'
    model = resized(words, "x, , f", f=np.array([1, 1, 0.6, 0.6], np.float32))
    assert resize.in_products(model) == 0
    with pytest.raises(UnsupportedError, match=r"makes no whole pixels of \[1, 2, 7, 5\]"):
        resize.check(model, "m.onnx")
