"""A function in parts becomes one operator, however it is written out, and nothing else does."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import written_out
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.prepare import prepare
from tests.compiler.float_models import make, write
from tests.compiler.quantizing import quantize

CONSTANTS = {
    "root": np.array(np.sqrt(2), np.float32), "inverse": np.array(np.sqrt(0.5), np.float32),
    "one": np.array([1], np.float32), "half": np.array(0.5, np.float32),
    "three": np.array(3, np.float32), "c": np.array(0.044715, np.float32),
    "k": np.array(0.79788456, np.float32), "almost": np.array(0.71, np.float32),
    "zero": np.array(0, np.float32), "six": np.array(6, np.float32),
    "sixth": np.array(1 / 6, np.float32), "fifth": np.array(0.2, np.float32),
    "two": np.array(2, np.float32), "twenty": np.array(20, np.float32),
    "below": np.array(-50, np.float32),
}  # fmt: skip
ERF = {
    "torch": "d = Div (x, root) e = Erf (d) a = Add (e, one) m = Mul (x, a) y = Mul (m, half)",
    "keras": "d = Mul (inverse, x) e = Erf (d) a = Add (one, e) h = Mul (half, x) y = Mul (h, a)",
    "halved": "d = Mul (x, inverse) e = Erf (d) a = Add (e, one) h = Mul (a, half) y = Mul (x, h)",
}
TANH = {
    "jax": "q = Mul (c, x) s = Mul (x, q) t = Mul (x, s) u = Add (x, t) v = Mul (k, u) "
    "e = Tanh (v) a = Add (one, e) h = Mul (half, a) y = Mul (x, h)",
    "hugging face": "p = Pow (x, three) q = Mul (p, c) u = Add (x, q) v = Mul (u, k) e = Tanh (v) "
    "a = Add (e, one) h = Mul (x, half) y = Mul (h, a)",
}
HARD_SWISH = {
    "paddle": "a = Add (x, three) g = Clip (a, zero, six) m = Mul (x, g) y = Div (m, six)",
    "torch": "a = Add (x, three) g = Clip (a, zero, six) d = Div (g, six) y = Mul (x, d)",
    "relu": "a = Add (three, x) r = Relu (a) g = Min (r, six) m = Mul (g, sixth) y = Mul (m, x)",
    "hard sigmoid": "h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul (x, h)",
}
HARD_SIGMOID = {
    "sixth": "a = Add (x, three) g = Clip (a, zero, six) y = Div (g, six)",
    "fifth": "a = Mul (fifth, x) b = Add (half, a) m = Max (b, zero) y = Min (m, one)",
}
OTHERS = {
    "another constant": "d = Mul (x, almost) e = Erf (d) a = Add (e, one) m = Mul (x, a) "
    "y = Mul (m, half)",
    "of two tensors": "d = Div (x, root) e = Erf (d) a = Add (e, one) m = Mul (z, a) "
    "y = Mul (m, half)",
    "plain tanh": "e = Tanh (x) y = Mul (x, e)",
    "another ceiling": "a = Add (x, three) g = Clip (a, zero, three) m = Mul (x, g) "
    "y = Div (m, six)",
    "of two tensors, hard": "a = Add (x, three) g = Clip (a, zero, six) m = Mul (z, g) "
    "y = Mul (m, sixth)",
    "a plain clip": "a = Mul (x, two) y = Clip (a, zero, six)",
}


def model_of(body: str, opset: int = 13) -> onnx.ModelProto:
    """The body, of `x` and `z` which are convolutions' results, in front of another one."""
    inner = re.sub(r"\bx\b", "before", re.sub(r"\by\b", "behind", body))
    lines = f"""
        before = Conv <kernel_shape = [1, 1]> (x, w)
        z = Conv <kernel_shape = [1, 1]> (x, w2)
        {inner.replace(") ", chr(41) + chr(10))}
        sum = Add (behind, z)
        y = Conv <kernel_shape = [1, 1]> (sum, w3)
    """
    weights: dict[str, tuple[int, ...]] = {
        "w": (8, 3, 1, 1), "w2": (8, 3, 1, 1), "w3": (4, 8, 1, 1)
    }  # fmt: skip
    shapes = {"x": "1, 3, 8, 8", "y": "1, 4, 8, 8"}
    return make(lines, weights, **shapes, opset=opset, constants=CONSTANTS)


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("name", [*ERF, *TANH])
@pytest.mark.parametrize("opset", [13, 20])
def test_every_way_to_write_it_becomes_one_operator(name: str, opset: int) -> None:
    source = model_of((ERF | TANH)[name], opset)
    ready = prepare(source)
    assert kinds(ready).count("Gelu") == 1
    assert not {"Erf", "Tanh", "Pow", "Div"} & set(kinds(ready))
    (node,) = (node for node in ready.graph.node if node.op_type == "Gelu")
    assert node.attribute[0].s.decode() == ("tanh" if name in TANH else "none")
    x = np.random.default_rng(0).normal(0, 2, (1, 3, 8, 8)).astype(np.float32)
    ours, theirs = (Session(each, optimize=False)({"x": x})[0] for each in (ready, source))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", HARD_SWISH)
@pytest.mark.parametrize("opset", [13, 20])
def test_every_way_to_write_hard_swish_becomes_one_operator(name: str, opset: int) -> None:
    assert_becomes(model_of(HARD_SWISH[name], opset), "HardSwish")


@pytest.mark.parametrize("name", HARD_SIGMOID)
def test_every_way_to_write_hard_sigmoid_becomes_one_operator(name: str) -> None:
    assert_becomes(model_of(HARD_SIGMOID[name]), "HardSigmoid")


def assert_becomes(source: onnx.ModelProto, kind: str) -> None:
    ready = prepare(source)
    assert kinds(ready).count(kind) == 1
    assert not {"Clip", "Relu", "Mul", "Div", "Min", "Max"} & set(kinds(ready))
    x = np.random.default_rng(0).normal(0, 2, (1, 3, 8, 8)).astype(np.float32)
    ours, theirs = (Session(each, optimize=False)({"x": x})[0] for each in (ready, source))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_other_functions_stay_what_they_are(name: str) -> None:
    source = model_of(OTHERS[name])
    ready = prepare(source)
    assert not {"Gelu", "HardSwish", "HardSigmoid"} & set(kinds(ready))
    x = np.random.default_rng(0).normal(0, 2, (1, 3, 8, 8)).astype(np.float32)
    ours, theirs = (Session(each, optimize=False)({"x": x})[0] for each in (ready, source))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("bound", ["y = Min (h, twenty)", "y = Clip (h, below, twenty)"])
def test_a_bound_far_out_stays(bound: str) -> None:
    """Near 0 it does nothing."""
    body = f"a = Add (x, three) g = Clip (a, zero, six) m = Mul (x, g) h = Div (m, six) {bound}"
    source = model_of(body)
    ready = prepare(source)
    assert "HardSwish" in kinds(ready)
    assert {"Min", "Clip"} & {*kinds(ready)}
    x = np.random.default_rng(0).normal(0, 100, (1, 3, 8, 8)).astype(np.float32)
    ours, theirs = (Session(each, optimize=False)({"x": x})[0] for each in (ready, source))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_what_somebody_else_reads_stays() -> None:
    model = model_of(ERF["torch"])
    model.graph.output.append(onnx.helper.make_tensor_value_info("e", 1, [1, 8, 8, 8]))
    assert written_out.write_as_one(model) == 0


ROWS = {
    "torch": """
        mean = ReduceMean <axes = [-1]> (x)
        d = Sub (x, mean)
        sq = Pow (d, two)
        var = ReduceMean <axes = [-1]> (sq)
        ve = Add (var, eps)
        s = Sqrt (ve)
        n = Div (d, s)
        g = Mul (n, gamma)
        t = Add (g, beta)
    """,
    "keras": """
        mean = ReduceMean <axes = [2], keepdims = 1> (x)
        d = Sub (x, mean)
        sq = Mul (d, d)
        var = ReduceMean <axes = [2]> (sq)
        ve = Add (var, eps)
        s = Sqrt (ve)
        i = Reciprocal (s)
        ig = Mul (i, gamma)
        xg = Mul (x, ig)
        mg = Mul (mean, ig)
        o = Sub (beta, mg)
        t = Add (xg, o)
    """,
    "of squares": """
        mean = ReduceMean <axes = [2]> (x)
        xx = Mul (x, x)
        mm = Mul (mean, mean)
        m2 = ReduceMean <axes = [2]> (xx)
        v = Sub (m2, mm)
        var = Max (v, zero)
        ve = Add (var, eps)
        s = Sqrt (ve)
        d = Sub (x, mean)
        n = Div (d, s)
        g = Mul (n, gamma)
        t = Add (g, beta)
    """,
    "turned": """
        mean = ReduceMean <axes = [1]> (x)
        d = Sub (x, mean)
        sq = Mul (d, d)
        var = ReduceMean <axes = [1]> (sq)
        ve = Add (var, eps)
        s = Sqrt (ve)
        n = Div (d, s)
        r = Transpose <perm = [0, 2, 1]> (n)
        g = Mul (r, gamma6)
        t = Transpose <perm = [0, 2, 1]> (g)
    """,
}


def normalization(name: str, opset: int = 13, epsilon: float = 1e-5) -> onnx.ModelProto:
    """In front of a product, of (1, 6, 16)."""
    draw = np.random.default_rng(1)
    constants = {
        "two": np.array(2, np.float32), "eps": np.array([epsilon], np.float32),
        "zero": np.array(0, np.float32), "gamma": draw.normal(1, 0.3, 16).astype(np.float32),
        "beta": draw.normal(0, 0.3, 16).astype(np.float32),
        "gamma6": draw.normal(1, 0.3, 6).astype(np.float32),
    }  # fmt: skip
    body = f"{ROWS[name]}\n y = MatMul (t, w)"
    shapes = {"x": "1, 6, 16", "y": "1, 6, 8"}
    return make(body, {"w": (16, 8)}, **shapes, opset=opset, constants=constants)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("epsilon", [1e-5, 1e-3])
def test_a_normalization_in_parts_becomes_one_operator(name: str, epsilon: float) -> None:
    source = normalization(name, epsilon=epsilon)
    ready = prepare(source)
    assert kinds(ready).count("LayerNormalization") == 1
    assert not {"Sqrt", "ReduceMean", "Pow", "Div"} & set(kinds(ready))
    (node,) = (node for node in ready.graph.node if node.op_type == "LayerNormalization")
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    assert attributes["epsilon"] == pytest.approx(epsilon)
    for size in (0.01, 1.0, 30.0):
        x = np.random.default_rng(0).normal(0.1, size, (1, 6, 16)).astype(np.float32)
        ours, theirs = (Session(each, optimize=False)({"x": x})[0] for each in (ready, source))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-3)


def test_what_is_no_normalization_stays_in_its_parts() -> None:
    text = ROWS["torch"].replace("Add (var, eps)", "Add (var, beta)")
    constants = {"two": np.array(2, np.float32), "beta": np.linspace(0, 1, 16, dtype=np.float32)}
    constants["gamma"] = constants["beta"]
    model = make(
        f"{text}\n y = MatMul (t, w)", {"w": (16, 8)}, x="1, 6, 16", y="1, 6, 8", opset=13,
        constants=constants,
    )  # fmt: skip
    ready = prepare(model)
    assert "LayerNormalization" not in kinds(ready)


def test_a_normalization_of_squares_keeps_its_signal_in_8_bits(tmp_path: Path) -> None:
    source = write(normalization("of squares"), tmp_path / "m.onnx")
    draw = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", draw.normal(2, 1, size=(64, 1, 6, 16)).astype(np.float32))
    _, metrics, _ = quantize(source, data=str(tmp_path / "x.npy"))
    assert metrics["sqnr_db"] > 30


NEARLY = {
    # Rows of the mask that the first ones say nothing of.
    "a mask of rows": ("1, 16, 16", -1, "d", {"tail": np.where(np.arange(16) < 8, 1, 0)[:, None]}),
    # The mean is left in, which a large bias hides from a tolerance of all channels.
    "the mean left in": ("1, 6, 16", -1, "x", {"beta": np.where(np.arange(16) < 1, 1e4, 0.1)}),
    # The same as a normalization of one sample, and of no more.
    "all axes of a batch": ("N, 16", None, "d", {}),
}


@pytest.mark.parametrize("name", NEARLY)
def test_what_is_nearly_a_normalization_computes_what_it_did(name: str) -> None:
    shape, axis, numerator, own = NEARLY[name]
    axes = "" if axis is None else f"<axes = [{axis}]>"
    body = f"""
        mean = ReduceMean {axes} (x)
        d = Sub (x, mean)
        sq = Mul (d, d)
        var = ReduceMean {axes} (sq)
        ve = Add (var, eps)
        s = Sqrt (ve)
        n = Div ({numerator}, s)
        g = Add (n, beta)
        y = Mul (g, tail)
    """
    given = {"eps": np.array(1e-5), "beta": np.full(16, 0.5), "tail": np.array(1.0)} | own
    constants = {key: value.astype(np.float32) for key, value in given.items()}
    source = make(body, {}, x=shape, y=shape, opset=13, constants=constants)
    ready = prepare(source)
    extents = [int(each) if each.strip() != "N" else 4 for each in shape.split(",")]
    x = np.random.default_rng(0).normal(0.5, 1.0, extents).astype(np.float32)
    ours, theirs = (Session(each, optimize=False)({"x": x})[0] for each in (ready, source))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_result_of_more_axes_than_its_operand_is_not_gelu_alone() -> None:
    body = ERF["torch"].replace(") ", ")\n")
    constants = CONSTANTS | {"half": np.full((1, 1, 1, 1), 0.5, np.float32)}
    source = make(body, {}, x="4, 8", y="1, 1, 4, 8", opset=13, constants=constants)
    x = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    ours, theirs = (
        Session(each, optimize=False)({"x": x})[0] for each in (prepare(source), source)
    )
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_orders_of_fewer_axes_than_the_operand_has_are_no_order_of_its_axes() -> None:
    body = """
        s = Squeeze (x, first)
        t = Transpose <perm = [1, 0]> (s)
        q = Mul (t, t)
        m = ReduceMean <axes = [-1], keepdims = 1> (q)
        r = Sqrt (m)
        y = Div (t, r)
    """
    model = make(body, {}, x="1, 4, 8", y="8, 4", opset=13, constants={"first": np.array([0])})
    x = np.random.default_rng(0).normal(size=(1, 4, 8)).astype(np.float32)
    (y,) = Session(prepare(model), optimize=False)(x)
    rows = x[0].T
    expected = rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True))
    np.testing.assert_allclose(y, expected, rtol=1e-4)
