"""Indices that are computed stay inside what they index; constant ones are inside or refused."""

import numpy as np
import pytest

from edgekiln.compiler.onnx_model.indices import bound_indices
from edgekiln.runtime.errors import InputError
from tests.compiler.onnx_model.same_numbers import by_reference, operators, parsed

X = np.arange(12, dtype=np.float32).reshape(3, 4)

# An operator on x (3, 4) and indices i, the shape of i, indices outside, and the nearest inside.
CASES = [
    ("d = Cast <to = 11> (x)\n g = Gather (d, i)\n y = Cast <to = 1> (g)", "2", [7, -9], [2, -3]),
    (
        "d = Cast <to = 11> (x)\n g = Gather <axis = 1> (d, i)\n y = Cast <to = 1> (g)",
        "2",
        [7, -9],
        [3, -4],
    ),
    ("y = GatherElements <axis = 1> (x, i)", "3, 1", [[4], [-5], [0]], [[3], [-4], [0]]),
    ("y = GatherND (x, i)", "2, 2", [[3, 3], [-4, 9]], [[2, 3], [-3, 3]]),
    ("y = GatherND <batch_dims = 1> (x, i)", "3, 1", [[4], [-5], [0]], [[3], [-4], [0]]),
    ("y = ScatterElements (x, i, u)", "1, 4", [[3, 0, -4, 1]], [[2, 0, -3, 1]]),
    ("y = ScatterND (x, i, v)", "2, 2", [[3, 0], [0, 4]], [[2, 0], [0, 3]]),
]
UPDATES = {
    "u": np.full((1, 4), 50, np.float32),
    "v": np.array([50, 60], np.float32),
}


@pytest.mark.parametrize(("body", "shape", "outside", "inside"), CASES)
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_an_index_outside_is_the_nearest_inside(
    body: str, shape: str, outside: list[int], inside: list[int], dtype: str
) -> None:
    if "ND" in body and dtype == "int32":
        dtype = "int64"  # the only type that ONNX takes there
    text = f"g (float[3, 4] x, {dtype}[{shape}] i) => (float[N, M] y) {{ {body} }}"
    constants = {name: value for name, value in UPDATES.items() if f", {name})" in body}
    text = text.replace("[N, M] y", "[N] y") if "GatherND" in body else text
    model = parsed(text, **constants)
    (expected,) = by_reference(model, {"x": X, "i": np.array(inside, dtype)})
    assert bound_indices(model, "m.onnx") == 1
    (found,) = by_reference(model, {"x": X, "i": np.array(outside, dtype)})
    np.testing.assert_array_equal(found, expected)
    (same,) = by_reference(model, {"x": X, "i": np.array(inside, dtype)})
    np.testing.assert_array_equal(same, expected)


@pytest.mark.parametrize(("body", "shape", "outside", "inside"), CASES)
def test_a_constant_index_outside_is_refused(
    body: str, shape: str, outside: list[int], inside: list[int]
) -> None:
    del shape
    rank = "[N] y" if "GatherND" in body else "[N, M] y"
    text = f"g (float[3, 4] x) => (float{rank}) {{ {body} }}"
    updates = {name: value for name, value in UPDATES.items() if f", {name})" in body}
    right = parsed(text, i=np.array(inside), **updates)
    before = operators(right)
    assert bound_indices(right, "m.onnx") == 0
    assert operators(right) == before
    wrong = parsed(text, i=np.array(outside), **updates)
    with pytest.raises(InputError, match=r"m\.onnx: operator \w+ \('[yg]'\) has the index -?\d+ "):
        bound_indices(wrong, "m.onnx")


def test_the_number_of_an_image_is_inside_whatever_it_is() -> None:
    model = parsed(
        "g (float[2, 1, 4, 4] x, float[3, 5] rois) => (float[3, 1, 2, 2] y) "
        "{ y = MaxRoiPool <pooled_shape = [2, 2]> (x, rois) }"
    )
    assert bound_indices(model, "m.onnx") == 1
    bounded = model.graph.node[-1].input[1]
    del model.graph.node[-1]
    model.graph.output[0].name = bounded
    rois = np.array([[np.nan, -7, 0, 2, 2], [9, 0, 0, 9, 9], [-3, 0, 0, 1, 1]], np.float32)
    (found,) = by_reference(model, {"x": np.zeros((2, 1, 4, 4), np.float32), "rois": rois})
    np.testing.assert_array_equal(found[:, 0], [0, 1, 0])
    np.testing.assert_array_equal(found[:, 1:], rois[:, 1:])
