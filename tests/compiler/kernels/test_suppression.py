"""Boxes that overlap, bit by bit against ONNX Runtime's NonMaxSuppression: ties, NaN and all."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.suppression import SuppressionKernel
from tests.compiler.kernels.harness import EMULATED, GPUS, microkernel, ort, quick, run

# The same code on every chip: value by value.
somewhere = pytest.mark.parametrize(
    "name",
    ["x86_avx2", *(pytest.param(name, marks=pytest.mark.slow) for name in (*EMULATED, *GPUS))],
)
Array = NDArray[Any]
WRONG = (np.nan, np.inf, -np.inf, 0.0, -0.0)


@st.composite
def cases(draw: st.DrawFn, *, reaching: bool = True) -> tuple[SuppressionKernel, Array, Array]:
    """A few boxes on a coarse grid, so that many touch, are the same or have no area."""
    kernel = SuppressionKernel(
        images=draw(st.integers(1, 2)), classes=draw(st.integers(1, 3)),
        boxes=draw(st.integers(1, 9)), most=draw(st.integers(1, 5)),
        centered=draw(st.booleans()), overlap=draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
        least=draw(st.sampled_from([0.0, 0.4, -1.0] + [None] * reaching)),
    )  # fmt: skip
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    coarse = draw(st.booleans())
    boxes = rng.normal(0, 1, (kernel.images, kernel.boxes, 4))
    scores = rng.normal(0, 1, (kernel.images, kernel.classes, kernel.boxes))
    if coarse:
        boxes, scores = np.rint(2 * boxes), np.rint(2 * scores) / 4
    for array in (boxes, scores) if draw(st.booleans()) else ():
        where = rng.random(array.shape) < 0.15
        array[where] = rng.choice(WRONG, where.sum())
    if kernel.least is None:  # ONNX Runtime sorts NaN in no certain order
        scores = np.nan_to_num(scores, posinf=9.0, neginf=-9.0)
    return kernel, boxes.astype(np.float32), scores.astype(np.float32)


def onnx_runtimes(kernel: SuppressionKernel, boxes: Array, scores: Array) -> Array:
    limits = [kernel.overlap] + ([] if kernel.least is None else [kernel.least])
    operands = {
        "boxes": boxes, "scores": scores, "most": np.array([kernel.most]),
        **{f"limit{i}": np.array([value], np.float32) for i, value in enumerate(limits)},
    }  # fmt: skip
    found = ort("NonMaxSuppression", operands, center_point_box=int(kernel.centered))
    padding = np.full((kernel.rows - len(found), 3), -1)
    return np.concatenate([found, padding])


@somewhere
@quick
@given(case=cases())
def test_the_boxes_that_stay_are_onnx_runtimes(
    name: str, case: tuple[SuppressionKernel, Array, Array]
) -> None:
    kernel, boxes, scores = case
    rows = Nhwc(n=1, h=1, w=kernel.rows, c=3, dtype="int64")
    found = run(
        kernel.build(microkernel(name)), name, [boxes.reshape(-1), scores.reshape(-1)], rows
    )
    np.testing.assert_array_equal(found.reshape(-1, 3), onnx_runtimes(kernel, boxes, scores))
