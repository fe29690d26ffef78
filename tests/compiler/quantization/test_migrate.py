import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.channel_peaks import ChannelSamples, channel_samples
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
    found = migrations(model)
    tensors = [each.tensor for each in found]
    before = Session(model, optimize=True)(x)[0]
    samples = channel_samples(model, tensors, [{"x": x}])
    assert migrate(model, found, samples) == (2, frozenset())
    np.testing.assert_allclose(Session(model, optimize=True)(x)[0], before, rtol=1e-3, atol=1e-3)
    after = channel_samples(model, tensors, [{"x": x}])
    spread = {name: each.peaks.max() / each.peaks.min() for name, each in samples.items()}
    now = {name: each.peaks.max() / each.peaks.min() for name, each in after.items()}
    assert all(now[name] < 0.5 * spread[name] for name in tensors)


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


STREAM = """
    n = LayerNormalization <axis = -1> (x, factor, shift)
    rows = Reshape (n, flat)
    p = MatMul (rows, w1)
    back = Reshape (p, shape)
    g = Gelu (back)
    q = MatMul (g, w2)
    s = Add (q, n)
    m = LayerNormalization <axis = -1> (s, level, offset)
    y = MatMul (m, w3)
"""


def stream() -> onnx.ModelProto:
    """A block that normalizes behind its sum: its normalization is read by the next sum, too."""
    rng = np.random.default_rng(3)
    large = np.where(np.arange(32) % 11 == 0, 60.0, 1.0).astype(np.float32)
    constants = {
        "factor": large, "shift": (rng.normal(size=32) * large).astype(np.float32),
        "level": np.ones(32, np.float32), "offset": np.zeros(32, np.float32),
        "flat": np.array([-1, 32]), "shape": np.array([-1, 8, 64]),
    }  # fmt: skip
    shapes = {"w1": (32, 64), "w2": (64, 32), "w3": (32, 32)}
    return make(STREAM, shapes, x="1, 8, 32", y="1, 8, 32", constants=constants)


def test_a_float_value_is_divided_on_its_way_to_products_alone() -> None:
    found = {each.tensor: each for each in migrations(stream(), ["n", "g", "s"])}
    assert found["n"].makers == ()
    assert found["n"].ways == ("rows",)  # not the sum
    assert found["g"].readers == (("w2", 0),)
    # What codes would be multiplied again is left alone.
    assert "n" not in {each.tensor for each in migrations(stream())}


def test_the_function_of_a_stream_stays_and_its_products_lose_less() -> None:
    model, x = stream(), np.random.default_rng(4).normal(size=(1, 8, 32)).astype(np.float32)
    before = Session(model, optimize=True)({"x": x})[0]
    floats = ["n", "g", "s"]
    found = migrations(model, floats)
    tensors = [each.tensor for each in found]
    count, made = migrate(model, found, channel_samples(model, tensors, [{"x": x}]))
    assert count >= len(made) >= 1
    assert made <= {node.name for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(
        Session(model, optimize=True)({"x": x})[0], before, rtol=1e-3, atol=1e-3
    )
    # The sum still reads what was not divided.
    assert next(node for node in model.graph.node if node.name == "s").input[1] == "n"


def test_channels_that_are_alike_are_left_as_they_are() -> None:
    model = stream()
    rows = np.random.default_rng(5).uniform(-1, 1, (256, 32)).astype(np.float32)
    even = ChannelSamples(low=np.full(32, -1.0), high=np.full(32, 1.0), rows=rows)
    for weight in model.graph.initializer:
        if weight.name == "w1":
            signs = np.sign(onnx.numpy_helper.to_array(weight))
            weight.CopyFrom(onnx.numpy_helper.from_array(signs, weight.name))
    kept = {w.name: onnx.numpy_helper.to_array(w).copy() for w in model.graph.initializer}
    x = np.random.default_rng(6).normal(size=(1, 8, 32)).astype(np.float32)
    samples = channel_samples(model, ["m"], [{"x": x}]) | {"n": even}
    migrate(model, migrations(model, ["n"]), samples)
    now = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    assert now.keys() == kept.keys()
    np.testing.assert_array_equal(now["w1"], kept["w1"])


SHARED = """
    n = LayerNormalization <axis = -1> (x, factor, factor)
    y = MatMul (n, w)
"""


def test_a_constant_that_is_both_factor_and_shift_is_left_alone() -> None:
    factor = np.where(np.arange(32) % 11 == 0, 60.0, 1.0).astype(np.float32)
    model = make(
        SHARED, {"w": (32, 16)}, x="1, 8, 32", y="1, 8, 16", constants={"factor": factor}
    )  # fmt: skip
    assert migrations(model) == []


@pytest.mark.parametrize(
    ("line", "weight", "y"),
    [
        ("y = MatMul (g, w)", (8, 16, 4), "8, 8, 4"),  # a matrix for each of the batch
        ("y = MatMul (g, w)", (16,), "1, 8"),
    ],
)
def test_weights_that_are_no_matrix_are_left_alone(line, weight, y) -> None:
    body = f"n = LayerNormalization <axis = -1> (x, factor, shift)\n g = Gelu (n)\n {line}"
    constants = {"factor": np.ones(16, np.float32), "shift": np.zeros(16, np.float32)}
    model = make(body, {"w": weight}, x="1, 8, 16", y=y, constants=constants)
    assert migrations(model, ["n", "g"]) == []
