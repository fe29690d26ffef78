"""Rewrites that bring operators into the forms that have integer kernels: the same numbers."""

import re

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import folding, rewrites
from edgekiln.compiler.onnx_model.conv_transpose import conv_from_transposed
from edgekiln.compiler.onnx_model.gemm import gemm_from_matmul, plain_gemm
from edgekiln.compiler.onnx_model.session import Session
from tests.compiler.float_models import make

rng = np.random.default_rng(5)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def same_numbers(model: onnx.ModelProto, rewrite, shape: tuple[int, ...], count: int = 1) -> None:
    x = rng.normal(size=shape).astype(np.float32)
    before = Session(model, optimize=True)(x)
    assert rewrite(model) == count
    onnx.checker.check_model(model, full_check=True)
    for was, now in zip(before, Session(model, optimize=True)(x), strict=True):
        np.testing.assert_allclose(now, was, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 1), (1, 4)], ids=str)
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemms_factors_and_biases_go_into_its_constants(shape, transposed):
    body = f"y = Gemm <alpha = 0.5, beta = 2.0, transB = {transposed}> (x, w, b)"
    weights = {"w": (4, 6) if transposed else (6, 4), "b": shape}
    model = make(body, weights, x="N, 6", y="N, 4")
    same_numbers(model, plain_gemm, (3, 6))
    assert operators(model) == ["Gemm"]
    (gemm,) = model.graph.node
    assert {a.name for a in gemm.attribute} <= {"transB"}
    assert {tuple(w.dims) for w in model.graph.initializer} == {weights["w"], (4,)}
    assert plain_gemm(model) == 0


@pytest.mark.parametrize(
    ("body", "weights", "ops"),
    [
        ("y = Gemm <beta = 0.0> (x, w, b)", {"w": (6, 4), "b": (4,)}, ["Gemm"]),
        ("y = Gemm <beta = 3.0> (x, w)", {"w": (6, 4)}, ["Gemm"]),
        ("y = Gemm (x, w, b)", {"w": (6, 4), "b": (3, 1)}, ["Gemm", "Add"]),
        ("y = Gemm (x, w, b)", {"w": (6, 4), "b": (3, 4)}, ["Gemm", "Add"]),
        (
            "c = Relu (x)\n t = Gemm <transA = 1, beta = 0.5> (x, c, b)\n y = MatMul (w, t)",
            {"w": (3, 6), "b": (6,)},
            ["Relu", "Transpose", "MatMul", "Add", "MatMul"],
        ),
        (
            "c = MatMul (x, w)\n y = Gemm <beta = 0.5, alpha = 3.0> (x, w, c)",
            {"w": (6, 4)},
            ["MatMul", "Gemm", "Mul", "Add"],
        ),
        (
            "c = MatMul (x, w)\n y = Gemm <transB = 1, alpha = 3.0> (c, c)",
            {"w": (6, 4)},
            ["MatMul", "Transpose", "MatMul", "Mul"],
        ),
    ],
    ids=["no beta", "beta of nothing", "a number a row", "a matrix", "transA", "dynamic C", "B"],
)
def test_other_gemms_become_what_has_an_integer_form(body, weights, ops):
    model = make(body, weights, x="3, 6", y="3, K")
    same_numbers(model, plain_gemm, (3, 6))
    assert operators(model) == ops
    for node in model.graph.node:
        assert {a.name for a in node.attribute} <= {"transB", "perm"}


@pytest.mark.parametrize("shape", [(1, 4), (1, 1, 4), (1,), ()], ids=str)
def test_a_bias_of_any_shape_joins_a_linear_layer_on_a_sequence(shape):
    body = "m = MatMul (x, w)\n y = Add (m, b)"
    model = make(body, {"w": (6, 4), "b": shape}, x="N, 5, 6", y="N, 5, 4")
    same_numbers(model, gemm_from_matmul, (2, 5, 6))
    assert operators(model) == ["Reshape", "Gemm", "Reshape"]


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ("strides = [2, 2], kernel_shape = [2, 2]", (5, 7)),
        ("strides = [2, 2], kernel_shape = [4, 4], pads = [1, 1, 1, 1]", (5, 7)),
        ("strides = [2, 3], kernel_shape = [3, 2], pads = [1, 0, 0, 1], output_padding = [1, 2]",
         (4, 5)),
        ("kernel_shape = [3, 3], pads = [1, 1, 1, 1]", (4, 5)),
        ("strides = [3, 3], kernel_shape = [2, 2]", (4, 3)),
        ('strides = [2, 2], kernel_shape = [3, 3], auto_pad = "SAME_UPPER"', (4, 5)),
        ('strides = [2, 2], kernel_shape = [3, 3], auto_pad = "SAME_LOWER"', (4, 5)),
        ("strides = [2, 2], kernel_shape = [3, 3], output_shape = [8, 9]", (4, 5)),
        ("strides = [4], kernel_shape = [5], pads = [3, 2]", (6,)),
        ("strides = [2, 1], kernel_shape = [2, 3], dilations = [3, 2], pads = [1, 2, 0, 1]",
         (4, 5)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_is_a_convolution(attributes, size, groups):
    kernel = [int(k) for k in re.search(r"kernel_shape = \[([^]]+)\]", attributes)[1].split(",")]
    extents = ", ".join(str(extent) for extent in size)
    model = make(
        f"y = ConvTranspose <{attributes}, group = {groups}> (x, w, b)",
        {"w": (4, 3, *kernel), "b": (3 * groups,)},
        x=f"N, 4, {extents}",
        y="N, 3, H" + ", W" * (len(size) - 1)
        if groups == 1
        else "N, C, H" + ", W" * (len(size) - 1),
    )
    same_numbers(model, conv_from_transposed, (2, 4, *size))
    assert "ConvTranspose" not in operators(model)


def test_a_transposed_convolution_with_computed_weights_stays():
    body = "v = Relu (w)\n y = ConvTranspose <kernel_shape = [3, 3]> (x, v)"
    model = make(body, {"w": (4, 3, 3, 3)}, x="N, 4, 5, 5", y="N, 3, H, W")
    assert conv_from_transposed(model) == 0


@pytest.mark.parametrize(
    ("body", "weights", "ops"),
    [
        ("r = Relu (x)\n y = Sub (x, r)", {}, ["Relu", "Neg", "Add"]),
        ("y = Sub (x, c)", {"c": (1, 4)}, ["Add"]),
        ("y = Sub (c, x)", {"c": (4,)}, ["Neg", "Add"]),
    ],
)
def test_a_difference_is_a_sum(body, weights, ops):
    model = make(body, weights, x="N, 4", y="N, 4")
    same_numbers(model, rewrites.add_from_sub, (3, 4))
    assert operators(model) == ops


@pytest.mark.parametrize("body", ["y = Sub (x, c)", "y = Sub (c, x)"])
def test_the_difference_to_a_number_stays(body):
    assert rewrites.add_from_sub(make(body, {"c": ()}, x="N, 4", y="N, 4")) == 0


@pytest.mark.parametrize("alpha", [1.0, 1.7])
def test_swish_is_written_out(alpha):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4])
    swish = onnx.helper.make_node("Swish", ["x"], ["y"], name="y", alpha=alpha)
    graph = onnx.helper.make_graph([swish], "g", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 24)])
    model.ir_version = 10
    assert rewrites.mul_from_swish(model) == 1
    assert operators(model) == ["Mul"] * (alpha != 1.0) + ["Sigmoid", "Mul"]
    values = rng.normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(
        Session(model, optimize=True)(values)[0], values / (1 + np.exp(-alpha * values)), rtol=1e-5
    )


@pytest.mark.parametrize(("before", "value"), [("Relu", -1.0), ("Neg", -3e38), ("Neg", -np.inf)])
def test_padding_that_wins_no_maximum_is_the_pools_own(before, value):
    model = make(
        f"""
        r = {before} (x)
        p = Pad (r, amounts, value)
        y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 0, 0, 1]> (p)
        """,
        {},
        x="N, 3, 6, 6",
        y="N, 3, H, W",
        constants={"amounts": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "value": np.float32(value)},
    )
    same_numbers(model, rewrites.max_pool_takes_padding, (2, 3, 6, 6))
    assert operators(model) == [before, "MaxPool"]
    attributes = {a.name: list(a.ints) for a in model.graph.node[1].attribute}
    assert attributes["pads"] == [2, 1, 1, 2]


@pytest.mark.parametrize(("before", "value"), [("Relu", 0.5), ("Neg", -1.0)])
def test_padding_that_may_be_a_maximum_stays(before, value):
    model = make(
        f"r = {before} (x)\n p = Pad (r, amounts, value)\n y = MaxPool <kernel_shape = [2, 2]> (p)",
        {},
        x="N, 3, 6, 6",
        y="N, 3, H, W",
        constants={"amounts": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "value": np.float32(value)},
    )
    assert rewrites.max_pool_takes_padding(model) == 0


def test_a_constant_that_is_stored_in_two_ways_gets_a_copy():
    body = """
        a = MatMul (x, w)
        b = Gemm <transB = 1> (a, w, v)
        c = Gemm <transB = 1> (b, w, v)
        y = Add (c, v)
    """
    model = make(body, {"w": (4, 4), "v": (4,)}, x="N, 4", y="N, 4")
    same_numbers(model, rewrites.own_weights, (3, 4), count=3)
    names = [tuple(node.input) for node in model.graph.node]
    assert names == [
        ("x", "w"), ("a", "w_1", "v"), ("b", "w_1", "v_1"), ("c", "v_2")
    ]  # fmt: skip
    assert rewrites.own_weights(model) == 0


def test_shapes_and_constants_are_folded_until_nothing_is_new():
    """A Reshape by a computed shape, then arithmetic on the shape that this makes known."""
    model = make(
        """
        s = Shape <start = 1, end = 2> (x)
        t = Add (s, s)
        u = ConstantOfShape <value = float[1] {0.5}> (t)
        c = Concat <axis = 0> (one, t)
        a = Tile (x, two)
        r = Reshape (a, c)
        v = Shape (r)
        w = Cast <to = 1> (v)
        q = Add (r, u)
        y = ReduceSum (w)
        """,
        {},
        x="1, 4",
        y="K",
        constants={"one": np.array([1]), "two": np.array([1, 2])},
    )
    settled = folding.settle(model)
    assert "ConstantOfShape" not in operators(settled)
    (total,) = [w for w in settled.graph.initializer if w.name == "y"]
    assert onnx.numpy_helper.to_array(total) == 9.0
    assert folding.fold(settled) == 0


def test_what_depends_on_data_and_what_is_too_large_is_not_folded(monkeypatch):
    model = make(
        "c = ConstantOfShape (n)\n y = Add (x, c)", {}, x="1, 4000", y="1, 4000",
        constants={"n": np.array([4000])},
    )  # fmt: skip
    monkeypatch.setenv("EDGEKILN_MAX_ELEMENTS", "1000")
    assert operators(folding.settle(model)) == ["ConstantOfShape", "Add"]
    monkeypatch.delenv("EDGEKILN_MAX_ELEMENTS")
    assert operators(folding.settle(model)) == ["Add"]
