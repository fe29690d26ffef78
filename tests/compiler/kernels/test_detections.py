"""What a detector found, bit by bit against ONNX Runtime's operators: ties, NaN and all."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.detections import CountKernel, DetectionsKernel, FillKernel
from edgekiln.compiler.onnx_model import own_functions
from edgekiln.compiler.onnx_model.detection_functions import DOMAIN
from edgekiln.compiler.onnx_model.session import Session
from tests.compiler.kernels.harness import microkernel, quick, run
from tests.compiler.kernels.test_suppression import WRONG, somewhere

Array = NDArray[Any]


@st.composite
def cases(draw: st.DrawFn) -> tuple[DetectionsKernel, Array, Array]:
    """A few boxes on a coarse grid, so that many touch, are the same or have no area."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    together, classes = draw(st.booleans()), draw(st.integers(1, 3))
    boxes = draw(st.integers(1, 9))
    per_class = draw(st.integers(1, boxes))
    most = draw(st.integers(1, per_class * (1 if together else classes)))
    place = rng.normal(0, 2, (4, 4)).astype(np.float32)
    place[2:] = np.sort(place[2:], axis=0)
    kernel = DetectionsKernel(
        images=draw(st.integers(1, 2)), classes=classes, boxes=boxes, most=most,
        per_class=per_class, together=together, place=place,
        overlap=draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])),
        least=draw(st.sampled_from([0.0, 0.25, -1.0])),
    )  # fmt: skip
    corners = rng.normal(0, 2, (kernel.images, boxes, 4))
    scores = rng.normal(0, 1, (kernel.images, classes, boxes))
    if draw(st.booleans()):
        corners, scores = np.rint(corners), np.rint(2 * scores) / 4
    for array in (corners, scores) if draw(st.booleans()) else ():
        where = rng.random(array.shape) < 0.15
        array[where] = rng.choice(WRONG, where.sum())
    return kernel, corners.astype(np.float32), scores.astype(np.float32)


def onnx_runtimes(kernel: DetectionsKernel, boxes: Array, scores: Array) -> list[Array]:
    """What the functions give that stand for our kernels in a model."""
    numbers = {
        "overlap": np.array([kernel.overlap], np.float32),
        "least": np.array([kernel.least], np.float32),
        **dict(zip(("factor", "offset", "low", "high"), kernel.place, strict=True)),
    }
    name = "DetectionsTogether" if kernel.together else "DetectionsByClass"
    nodes = [
        helper.make_node(
            name, ["boxes", "scores", *numbers], ["found"], domain=DOMAIN,
            most=[kernel.most], per_class=[kernel.per_class],
        ),
        helper.make_node("CountedDetections", ["found"], ["count"], domain=DOMAIN),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "detector",
        [
            helper.make_tensor_value_info(each, TensorProto.FLOAT, array.shape)
            for each, array in (("boxes", boxes), ("scores", scores))
        ],
        [helper.make_empty_tensor_value_info(each) for each in ("found", "count")],
        [numpy_helper.from_array(value, each) for each, value in numbers.items()],
    )  # fmt: skip
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    own_functions.declare(model)
    return list(Session(model, optimize=False)({"boxes": boxes, "scores": scores}))


@somewhere
@quick
@given(case=cases())
def test_what_was_found_is_what_onnx_runtime_finds(
    name: str, case: tuple[DetectionsKernel, Array, Array]
) -> None:
    kernel, boxes, scores = case
    mk = microkernel(name)
    records = Nhwc(n=kernel.images, h=1, w=kernel.most, c=6, dtype="float32")
    found = run(kernel.build(mk), name, [boxes.reshape(-1), scores.reshape(-1)], records)
    wanted, counts = onnx_runtimes(kernel, boxes, scores)
    ours = found.reshape(wanted.shape)
    # Coordinates are sums of four products, which either may add in its own order.
    np.testing.assert_array_equal(ours[..., 4:], wanted[..., 4:])
    np.testing.assert_allclose(ours[..., :4], wanted[..., :4], rtol=1e-6, atol=1e-6)
    count = CountKernel(outer=kernel.images, rows=kernel.most, width=6, place=5, dtype="float32")
    places = Nhwc(n=1, h=1, w=1, c=kernel.images, dtype="int64")
    np.testing.assert_array_equal(run(count.build(mk), name, [found], places), counts)


@somewhere
@pytest.mark.parametrize("dtype", ["float32", "int64", "int8", "uint8"])
def test_rows_that_are_not_there_hold_minus_one(name: str, dtype: str) -> None:
    x = np.arange(24).reshape(2, 4, 3).astype(dtype)
    rows = np.array([[0, 1, 2], [0, 0, 0], [-1, -1, -1], [-1, -1, -1]])
    kernel = FillKernel(outer=2, rows=4, inner=3, dtype=dtype)
    y = Nhwc(n=2, h=1, w=4, c=3, dtype=dtype)
    found = run(kernel.build(microkernel(name)), name, [x.reshape(-1), rows.reshape(-1)], y)
    wanted = x.copy()
    wanted[:, 2:] = 0 if dtype == "uint8" else -1
    np.testing.assert_array_equal(found.reshape(x.shape), wanted)
