import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.channel_peaks import channel_peaks
from edgekiln.compiler.quantization.corrections import migrated
from edgekiln.compiler.quantization.migrate import migrate, migrations
from tests.compiler.float_models import make
from tests.compiler.quantization.schemes import bench

BODY = """
    t = Reshape (x, rows)
    n = LayerNormalization <axis = -1> (t, factor, shift)
    q = MatMul (n, w1)
    k = MatMul (n, w2)
    s = Add (q, k)
    g = Mul (s, scale)
    h = Add (g, offset)
    m = MatMul (h, w3)
    f = Flatten (m)
    y = Gemm <transB = 1> (f, head)
"""
SHAPES = {"w1": (96, 16), "w2": (96, 16), "w3": (16, 8), "head": (10, 256)}


def net() -> onnx.ModelProto:
    """A few channels behind the normalization are a hundred times larger than the others."""
    rng = np.random.default_rng(0)
    large = np.where(np.arange(96) % 24 == 0, 100.0, 1.0).astype(np.float32)
    constants = {
        "rows": np.array([0, 32, 96]),
        "factor": large,
        "shift": rng.normal(size=96).astype(np.float32) * large,
        "scale": np.where(np.arange(16) == 3, 50.0, 1.0).astype(np.float32),
        "offset": rng.normal(size=16).astype(np.float32),
    }
    model = make(BODY, SHAPES, constants=constants)
    # What reads a large channel has small weights for it, as trained nets have.
    for weight in model.graph.initializer:
        if weight.name in ("w1", "w2"):
            array = onnx.numpy_helper.to_array(weight) / large[:, None]
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return model


def test_what_can_be_migrated_is_found() -> None:
    assert [(each.tensor, each.makers, each.readers) for each in migrations(net())] == [
        ("n", ("factor", "shift"), (("w1", 0), ("w2", 0))),
        ("h", ("scale", "offset"), (("w3", 0),)),
    ]


def test_the_function_stays_and_the_channels_are_nearer_to_each_other() -> None:
    model = net()
    x = np.random.default_rng(1).normal(size=(4, 3, 32, 32)).astype(np.float32)
    axes = {each.tensor: -1 for each in migrations(model)}
    before = Session(model, optimize=True)(x)[0]
    peaks = channel_peaks(model, axes, [{"x": x}])
    assert migrate(model, peaks) == 2
    np.testing.assert_allclose(Session(model, optimize=True)(x)[0], before, rtol=1e-3, atol=1e-3)
    after = channel_peaks(model, axes, [{"x": x}])
    for name, most in peaks.items():
        assert after[name].max() / after[name].min() < 0.5 * most.max() / most.min()


def test_a_quantized_model_keeps_more_of_its_signal() -> None:
    made = bench(net())
    assert made.sqnr_db(migrated(made.scheme, made.work)) > made.sqnr_db(made.scheme) + 3


@pytest.mark.parametrize(
    "instead",
    [
        ("m = MatMul (h, w3)", "a = Relu (h)\n m = MatMul (a, w3)"),  # a Relu reads it
        ("m = MatMul (h, w3)", "a = MatMul (h, w3)\n b = MatMul (g, w3)\n m = Add (a, b)"),
    ],
)
def test_what_other_nodes_read_is_left_alone(instead: tuple[str, str]) -> None:
    model = make(BODY.replace(*instead), SHAPES, constants=constants_of(net()))
    assert [each.tensor for each in migrations(model)] == ["n"]


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {
        weight.name: onnx.numpy_helper.to_array(weight)
        for weight in model.graph.initializer
        if weight.name not in SHAPES
    }
