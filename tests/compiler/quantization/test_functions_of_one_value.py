"""A function of one value in several operators is one table: it is rounded once."""

import numpy as np
import pytest

from edgekiln.compiler.quantization import qcheck
from tests.compiler.float_models import make
from tests.compiler.quantization.test_qdq import behind, constants, quantized

# Functions of `h` in several nodes.
FUNCTIONS = {
    "swish": "s = Sigmoid (h)\n u = Mul (h, s)",
    "mish": "p = Softplus (h)\n t = Tanh (p)\n u = Mul (t, h)",
    "of numbers": "p = Mul (h, half)\n t = Tanh (p)\n v = Add (t, half)\n u = Mul (h, v)",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_one_value_is_rounded_once(name):
    body = f"h = Gemm <transB = 1> (x, w1)\n {FUNCTIONS[name]}\n y = Gemm <transB = 1> (u, w2)"
    half = {"half": np.array(0.5, np.float32)} if "half" in body else {}
    model = quantized(make(body, {"w1": (8, 6), "w2": (10, 8)}, x="N, 6", constants=half))
    rounded = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert rounded == ["x", "h", "u"]
    structure = qcheck.inspect(model)
    assert (structure.floats, structure.violations) == ((), ())
    assert [behind(model, each) for each in half] in ([], [["Mul", "Add"]])


def test_what_others_read_too_is_rounded():
    body = (
        "h = Gemm <transB = 1> (x, w1)\n s = Sigmoid (h)\n u = Mul (h, s)\n v = Add (u, s)\n"
        "y = Gemm <transB = 1> (v, w2)"
    )
    model = quantized(make(body, {"w1": (8, 6), "w2": (10, 8)}, x="N, 6"))
    rounded = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert rounded == ["x", "h", "v"]  # all of it is a function of h
    body = body.replace("Add (u, s)", "Mul (z, s)").replace("u = Mul", "z = Gemm")
    body = body.replace("z = Gemm (h, s)", "z = Gemm <transB = 1> (x, w1)")
    model = quantized(make(body, {"w1": (8, 6), "w2": (10, 8)}, x="N, 6"))
    rounded = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert "s" in rounded  # a gate of another value is no function of one


def test_a_relu_in_front_of_a_function_still_narrows_the_range():
    body = (
        "h = Gemm <transB = 1> (x, w1)\n r = Relu (h)\n s = Sigmoid (r)\n u = Mul (r, s)\n"
        "y = Gemm <transB = 1> (u, w2)"
    )
    model = quantized(make(body, {"w1": (8, 6), "w2": (10, 8)}, x="N, 6"))
    zero = constants(model)["r_zero_point"]
    assert zero == -128  # nothing below 0 has a code
    rounded = [node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(rounded) == 3
