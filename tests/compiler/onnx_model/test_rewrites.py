import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import rewrites
from edgekiln.compiler.onnx_model.session import Session
from tests.compiler.float_models import make

X = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype(np.float32)


def mean(axes, keepdims, y, opset=20):
    if opset < 18:
        body = f"y = ReduceMean <axes = {axes}, keepdims = {keepdims}> (x)"
        return make(body, {}, x="N, 3, 5, 7", y=y, opset=opset)
    return make(
        f"y = ReduceMean <keepdims = {keepdims}> (x, axes)",
        {},
        x="N, 3, 5, 7",
        y=y,
        constants={"axes": np.array(axes)},
    )


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3, -2]])
@pytest.mark.parametrize(
    ("keepdims", "y", "ops"),
    [(1, "N, 3, 1, 1", ["GlobalAveragePool"]), (0, "N, 3", ["GlobalAveragePool", "Flatten"])],
)
def test_a_mean_over_the_image_becomes_pooling(opset, axes, keepdims, y, ops):
    model = mean(axes, keepdims, y, opset)
    before = Session(model, optimize=True)(X)[0]
    assert rewrites.pool_from_reduce_mean(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ops
    assert not model.graph.initializer
    np.testing.assert_allclose(Session(model, optimize=True)(X)[0], before, rtol=1e-6)
    assert rewrites.pool_from_reduce_mean(model) == 0


@pytest.mark.parametrize(("axes", "y"), [([1], "N, 5, 7"), ([1, 2, 3], "N"), ([3], "N, 3, 5")])
def test_other_means_stay(axes, y):
    model = mean(axes, 0, y)
    assert rewrites.pool_from_reduce_mean(model) == 0
    assert [node.op_type for node in model.graph.node] == ["ReduceMean"]


def test_batch_norm_behind_a_convolution_is_found():
    model = make(
        """
        c = Conv <kernel_shape = [1, 1]> (x, w)
        y = BatchNormalization (c, g, b, m, v)
        """,
        {"w": (3, 3, 1, 1), "g": (3,), "b": (3,), "m": (3,)},
        x="N, 3, 5, 7",
        y="N, 3, 5, 7",
        constants={"v": np.ones(3, np.float32)},
    )
    assert rewrites.batch_norms_after_conv(model) == ["y"]
