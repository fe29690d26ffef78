import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.channel_peaks import channel_peaks
from edgekiln.compiler.quantization.equalize import clipped, equalize
from tests.compiler.float_models import make, residual

rng = np.random.default_rng(3)
X = rng.normal(size=(4, 3, 12, 12)).astype(np.float32)
CHAIN = """
    a = Conv <kernel_shape = [3, 3]> (x, w1, b1)
    r = Relu (a)
    d = Conv <kernel_shape = [3, 3], group = 8> (r, w2, b2)
    s = Relu (d)
    g = Conv <kernel_shape = [1, 1], group = 2> (s, w3)
    p = GlobalAveragePool (g)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w4, b4)
"""
WEIGHTS = {
    "w1": (8, 3, 3, 3),
    "b1": (8,),
    "w2": (8, 1, 3, 3),
    "b2": (8,),
    "w3": (6, 4, 1, 1),
    "w4": (10, 6),
    "b4": (10,),
}


def chain() -> onnx.ModelProto:
    return make(CHAIN, WEIGHTS, x="N, 3, 12, 12")


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}


def test_the_function_stays_through_depthwise_grouped_and_dense_layers():
    model = chain()
    before = Session(model, optimize=True)(X)[0]
    assert equalize(model) == 3
    assert not np.allclose(arrays(model)["w1"], arrays(chain())["w1"])
    np.testing.assert_allclose(Session(model, optimize=True)(X)[0], before, rtol=1e-4, atol=1e-5)


def test_both_sides_of_a_pair_end_with_equal_ranges():
    model = chain()
    equalize(model)
    found = arrays(model)
    ours = np.abs(found["w1"]).max(axis=(1, 2, 3))
    theirs = np.abs(found["w2"]).max(axis=(1, 2, 3))
    np.testing.assert_allclose(ours, theirs, rtol=0.01)


def test_it_undoes_a_scaling_of_channels():
    model = chain()
    factor = np.exp2(rng.uniform(-8, 8, 8)).astype(np.float32)
    spoiled = arrays(model)
    spoiled["w1"] = spoiled["w1"] * factor[:, None, None, None]
    spoiled["b1"] = spoiled["b1"] * factor
    spoiled["w2"] = spoiled["w2"] / factor[:, None, None, None]
    del model.graph.initializer[:]
    for name, array in spoiled.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    equalize(model)
    clean = chain()
    equalize(clean)
    for name, array in arrays(clean).items():
        np.testing.assert_allclose(arrays(model)[name], array, rtol=0.02, atol=1e-4)


def test_a_dead_channel_is_left_as_it_is():
    weight = np.ones((8, 3, 3, 3), np.float32)
    weight[5] = 0
    model = make(
        CHAIN,
        {name: shape for name, shape in WEIGHTS.items() if name != "w1"},
        x="N, 3, 12, 12",
        constants={"w1": weight},
    )
    equalize(model)
    assert all(np.isfinite(array).all() for array in arrays(model).values())


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        (  # a Clip's bounds do not scale
            """
            a = Conv <kernel_shape = [1, 1]> (x, w1)
            r = Clip (a, zero, six)
            y = Conv <kernel_shape = [1, 1]> (r, w2)
            """,
            {"w1": (3, 3, 1, 1), "w2": (3, 3, 1, 1)},
        ),
        (  # one weight, two layers
            """
            a = Conv <kernel_shape = [1, 1]> (x, w1)
            y = Conv <kernel_shape = [1, 1]> (a, w1)
            """,
            {"w1": (3, 3, 1, 1)},
        ),
    ],
)
def test_what_would_change_the_function_is_left_alone(body, weights):
    constants = {"zero": np.float32(0), "six": np.float32(6)} if "Clip" in body else {}
    model = make(body, weights, x="N, 3, 8, 8", y="N, 3, 8, 8", constants=constants)
    before = model.SerializeToString()
    assert equalize(model) == 0
    assert model.SerializeToString() == before


def test_a_residual_add_ends_a_pair():
    assert equalize(residual()) == 0


BETWEEN = """
    a = Conv <kernel_shape = [1, 1]> (x, w1, b1)
    r = {0}
    d = Conv <kernel_shape = [3, 3], group = 8> (r, w2, b2)
    s = Relu (d)
    g = Conv <kernel_shape = [1, 1]> (s, w3)
    p = GlobalAveragePool (g)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w4, b4)
"""
OF_BETWEEN = WEIGHTS | {"w1": (8, 3, 1, 1), "w3": (6, 8, 1, 1)}


def between(activation: str, bound: float = 6.0) -> onnx.ModelProto:
    """A depthwise layer between two others, its first channels much larger than the last."""
    slope = np.linspace(0.1, 0.9, 8).astype(np.float32).reshape(8, 1, 1)
    constants = {"zero": np.float32(0), "six": np.float32(bound), "slope": slope}
    used = {name: array for name, array in constants.items() if name in activation}
    model = make(BETWEEN.format(activation), OF_BETWEEN, x="N, 3, 12, 12", constants=used)
    for weight in model.graph.initializer:
        if weight.name in ("w1", "b1"):
            array = onnx.numpy_helper.to_array(weight)
            factor = np.exp2(-np.arange(8)).reshape(-1, *[1] * (array.ndim - 1))
            array = (array * factor).astype(np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return model


@pytest.mark.parametrize("activation", ["PRelu (a, slope)", "LeakyRelu <alpha = 0.2> (a)"])
def test_two_straight_lines_let_a_factor_through(activation):
    model = between(activation)
    before = Session(model, optimize=True)(X)[0]
    assert equalize(model) == 3
    assert not np.allclose(arrays(model)["w1"], arrays(between(activation))["w1"])
    np.testing.assert_allclose(Session(model, optimize=True)(X)[0], before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bound", [0.5, 100.0])  # within the data's reach, and beyond it
def test_a_clip_lets_a_factor_through_where_its_bound_stays_out_of_reach(bound):
    model = between("Clip (a, zero, six)", bound)
    before = Session(model, optimize=True)(X)[0]
    assert clipped(model) == ["r"]
    peaks = channel_peaks(model, {"r": 1}, [{"x": X}])
    touched = peaks["r"] >= 0.9 * bound
    assert touched.any() == (bound < 100.0)
    own = arrays(model)["w1"].copy()
    assert equalize(model, peaks) == 3
    changed = np.abs(arrays(model)["w1"] - own).max(axis=(1, 2, 3)) > 0
    assert not changed[touched].any()
    assert changed[~touched].any()
    np.testing.assert_allclose(Session(model, optimize=True)(X)[0], before, rtol=1e-4, atol=1e-5)


def test_without_knowing_its_channels_a_clip_ends_a_pair():
    assert equalize(between("Clip (a, zero, six)")) == 2


def test_a_depthwise_layer_and_both_its_neighbours_end_balanced():
    model = between("Relu (a)")
    equalize(model)
    found = arrays(model)
    ranges = [
        np.abs(found["w1"]).max(axis=(1, 2, 3)),
        np.abs(found["w2"]).max(axis=(1, 2, 3)),
        np.abs(found["w3"]).max(axis=(0, 2, 3)),
    ]
    np.testing.assert_allclose(ranges[0], ranges[1], rtol=0.02)
    np.testing.assert_allclose(ranges[1], ranges[2], rtol=0.02)


@pytest.mark.parametrize(("rows", "weight"), [("1, 12", (5, 12)), ("4, 3", (5, 3))])
def test_rows_that_are_not_the_channels_of_one_image_end_a_pair(rows, weight):
    shape = np.array([int(extent) for extent in rows.split(",")])
    body = """
        a = Conv <kernel_shape = [3, 3]> (x, w1)
        p = GlobalAveragePool (a)
        r = Reshape (p, rows)
        y = Gemm <transB = 1> (r, w2)
    """
    model = make(
        body, {"w1": (6, 3, 3, 3), "w2": weight}, x="2, 3, 6, 6", y=f"{shape[0]}, 5",
        constants={"rows": shape},
    )  # fmt: skip
    assert equalize(model) == 0
