"""What the int8 model looks like: the contract that lowering and every kernel rely on."""

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization import float_ends, qcheck, qdq
from edgekiln.compiler.quantization.ranges import Observer
from edgekiln.compiler.quantization.sqnr import Sqnr
from edgekiln.runtime.errors import ConfigError
from tests.compiler.float_models import make, residual

rng = np.random.default_rng(2)


def quantized(
    model: onnx.ModelProto, x: np.ndarray | None = None, exclude: tuple[str, ...] = ()
) -> onnx.ModelProto:
    """Quantize by the ranges of `x`, or of normal noise in the shape of the input."""
    if x is None:
        x = rng.normal(size=(16, *_shape(model))).astype(np.float32)
    nodes = qdq.quantized_nodes(model, exclude)
    tensors = qdq.observed_tensors(nodes, [w.name for w in model.graph.initializer])
    ranges = Observer(model, tensors, batch=16).ranges(lambda size: [{"x": x[:size]}])
    return qdq.quantize(model, nodes, ranges)


def _shape(model: onnx.ModelProto) -> list[int]:
    return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]


def operators(model: onnx.ModelProto) -> list[str]:
    """Operators in order, without Q and DQ."""
    linear = ("QuantizeLinear", "DequantizeLinear")
    return [node.op_type for node in model.graph.node if node.op_type not in linear]


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}


def behind(model: onnx.ModelProto, tensor: str) -> list[str]:
    """Operators that read a tensor; "output" when the model gives it."""
    readers = [node.op_type for node in model.graph.node if tensor in node.input]
    return readers + ["output" for value in model.graph.output if value.name == tensor]


def test_a_residual_block_becomes_integer_with_nothing_left_over():
    model = quantized(residual())
    structure = qcheck.inspect(model)
    assert structure.floats == ()
    assert structure.violations == ()
    assert structure.integer == ("a", "c", "s", "p", "f", "y")
    assert operators(model) == ["Conv", "Conv", "Add", "GlobalAveragePool", "Flatten", "Gemm"]


def test_weights_are_rounded_to_one_scale_a_channel():
    real, stored = constants(residual()), constants(quantized(residual()))
    for weight in ("w1", "w2", "w3"):
        q, scale = stored[f"{weight}_quantized"], stored[f"{weight}_scale"]
        flat = real[weight].reshape(len(real[weight]), -1)
        assert q.dtype == np.int8
        np.testing.assert_allclose(scale, np.abs(flat).max(axis=1) / 127, rtol=1e-6)
        wanted = np.round(flat / scale[:, None])
        np.testing.assert_array_equal(q.reshape(wanted.shape), wanted)
        assert np.abs(q.astype(int)).max() == 127


def test_a_bias_is_int32_at_the_scale_of_the_sums():
    real, stored = constants(residual()), constants(quantized(residual()))
    scale = stored["x_scale"] * stored["w1_scale"]
    np.testing.assert_allclose(stored["b1_quantized_scale"], scale, rtol=1e-6)
    assert stored["b1_quantized"].dtype == np.int32
    np.testing.assert_array_equal(stored["b1_quantized"], np.round(real["b1"] / scale))


def test_activations_use_all_levels_of_an_asymmetric_range():
    stored = constants(quantized(residual()))
    assert stored["ra_zero_point"] == -128  # after a ReLU nothing lies below 0
    assert -128 < stored["c_zero_point"] < 127
    assert stored["c_zero_point"].dtype == np.int8


@pytest.mark.parametrize(
    ("activation", "high"), [("ra = Relu (a)", None), ("ra = Clip (a, zero, six)", 6.0)]
)
def test_an_activation_behind_a_convolution_is_its_saturation(activation, high):
    model = make(
        f"""
        a = Conv <kernel_shape = [1, 1]> (x, w)
        {activation}
        y = Conv <kernel_shape = [1, 1]> (ra, v)
        """,
        {"w": (4, 3, 1, 1), "v": (2, 4, 1, 1)},
        x="N, 3, 8, 8",
        y="N, 2, 8, 8",
        constants={"zero": np.float32(0), "six": np.float32(6)},
    )
    x = rng.normal(0, 20, (16, 3, 8, 8)).astype(np.float32)
    model = quantized(model, x)
    assert operators(model) == ["Conv", "Conv"]
    stored = constants(model)
    assert stored["ra_zero_point"] == -128
    if high is not None:
        assert stored["ra_scale"] * 255 == pytest.approx(high)


def test_a_clip_that_cuts_zero_off_stays():
    model = make(
        """
        a = Conv <kernel_shape = [1, 1]> (x, w)
        c = Clip (a, one, six)
        y = Conv <kernel_shape = [1, 1]> (c, v)
        """,
        {"w": (4, 3, 1, 1), "v": (2, 4, 1, 1)},
        x="N, 3, 8, 8",
        y="N, 2, 8, 8",
        constants={"one": np.float32(1), "six": np.float32(6)},
    )
    assert operators(quantized(model)) == ["Conv", "Clip", "Conv"]


def test_the_logits_stay_float_and_hidden_layers_do_not():
    body = "h = Gemm <transB = 1> (x, w1)\n r = Relu (h)\n y = Gemm <transB = 1> (r, w2)"
    model = quantized(make(body, {"w1": (8, 6), "w2": (10, 8)}, x="N, 6"))
    assert behind(model, "r") == ["QuantizeLinear"]
    assert behind(model, "y") == ["output"]
    assert qcheck.inspect(model).integer == ("h", "y")


def test_a_softmax_reads_the_float_logits():
    body = "l = Gemm <transB = 1> (x, w)\n y = Softmax (l)"
    model = quantized(make(body, {"w": (10, 6)}, x="N, 6"))
    assert behind(model, "l") == ["Softmax"]
    structure = qcheck.inspect(model)
    assert structure.integer == ("l",)
    assert structure.floats == (
        qcheck.FloatNode(name="y", op="Softmax", reason="its input 'l' is float"),
    )
    assert float_ends.logits(make(body, {"w": (10, 6)}, x="N, 6")) == ["l"]


def test_a_relu_at_the_very_end_is_not_lost():
    body = "l = Gemm <transB = 1> (x, w)\n y = Relu (l)"
    real = make(body, {"w": (10, 6)}, x="N, 6")
    x = rng.normal(size=(16, 6)).astype(np.float32)
    got = Session(quantized(real, x), optimize=False)(x)[0]
    assert got.min() == 0.0
    np.testing.assert_allclose(got, Session(real, optimize=True)(x)[0], atol=0.1)


def test_a_relu_behind_an_addition_at_the_very_end_is_not_lost():
    body = "l = Gemm <transB = 1> (x, w)\n s = Add (l, x)\n y = Relu (s)"
    real = make(body, {"w": (6, 6)}, x="N, 6", y="N, 6")
    x = rng.normal(size=(16, 6)).astype(np.float32)
    got = Session(quantized(real, x), optimize=False)(x)[0]
    assert got.min() == 0.0
    np.testing.assert_allclose(got, Session(real, optimize=True)(x)[0], atol=0.1)


def test_an_output_that_a_relu_reads_keeps_its_negative_values():
    body = "l = Gemm <transB = 1> (x, w)\n s = Add (l, x)\n y = Relu (s)"
    real = make(body, {"w": (6, 6)}, x="N, 6", y="N, 6")
    real.graph.output.append(
        onnx.helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, ["N", 6])
    )
    x = rng.normal(size=(16, 6)).astype(np.float32)
    relu, total = Session(quantized(real, x), optimize=False)(x)
    exact = Session(real, optimize=True)(x)[1]
    assert exact.min() < -1
    np.testing.assert_allclose(total, exact, atol=0.1)
    np.testing.assert_array_equal(relu, np.maximum(total, 0))


def test_an_output_that_is_read_again_is_still_quantized_for_its_reader():
    body = """
        h = Gemm <transB = 1> (x, w1)
        y = Gemm <transB = 1> (h, w2)
    """
    model = make(body, {"w1": (8, 6), "w2": (10, 8)}, x="N, 6")
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, ["N", 8])
    )
    assert set(qcheck.inspect(quantized(model)).integer) == {"h", "y"}


@pytest.mark.parametrize("op", ["HardSwish", "Sigmoid", "Tanh", "Gelu", "Erf"])
def test_unary_functions_stand_between_q_and_dq(op):
    body = f"h = Gemm <transB = 1> (x, w1)\n u = {op} (h)\n y = Gemm <transB = 1> (u, w2)"
    structure = qcheck.inspect(quantized(make(body, {"w1": (8, 6), "w2": (10, 8)}, x="N, 6")))
    assert structure.integer == ("h", "u", "y")
    assert (structure.floats, structure.violations) == ((), ())


def test_shape_changes_keep_scale_and_zero_point():
    model = make(
        """
        a = Conv <kernel_shape = [1, 1]> (x, w)
        t = Transpose <perm = [0, 2, 3, 1]> (a)
        f = Flatten (t)
        y = Gemm <transB = 1> (f, v)
        """,
        {"w": (4, 3, 1, 1), "v": (10, 64)},
        x="N, 3, 4, 4",
    )
    q = [node for node in quantized(model).graph.node if node.op_type == "QuantizeLinear"]
    assert {tuple(node.input[1:]) for node in q if node.input[0] in "atf"} == {
        ("a_scale", "a_zero_point")
    }


def test_excluded_operations_stay_float():
    model = quantized(residual(), exclude=("c",))
    structure = qcheck.inspect(model, ("c",))
    assert structure.floats == (qcheck.FloatNode(name="c", op="Conv", reason="excluded"),)
    assert set(structure.integer) == {"a", "s", "p", "f", "y"}


def test_a_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(ConfigError) as caught:
        qdq.quantized_nodes(residual(), ("layer4.*",))
    assert caught.value.message == "quantize: exclude = 'layer4.*' matches no operation"
    assert caught.value.hint == "operations are: a, ra, c, s, rs, p, f, y"
    assert caught.value.exit_code == 2


def test_a_channel_and_an_activation_of_zeros_get_a_usable_scale():
    weight = np.ones((4, 3, 1, 1), np.float32)
    weight[2] = 0
    model = make(
        """
        a = Conv <kernel_shape = [1, 1]> (x, w)
        r = Relu (a)
        y = Conv <kernel_shape = [1, 1]> (r, v)
        """,
        {"v": (2, 4, 1, 1)},
        x="N, 3, 8, 8",
        y="N, 2, 8, 8",
        constants={"w": weight},
    )
    dark = -np.abs(rng.normal(size=(16, 3, 8, 8))).astype(np.float32)
    model = quantized(model, dark)
    stored = constants(model)
    assert stored["r_scale"] > 0
    assert stored["r_zero_point"] == -128  # so that saturation is still the ReLU
    assert (stored["w_scale"] > 0).all()
    assert qcheck.inspect(model).violations == ()
    assert (Session(model, optimize=False)(dark)[0] == 0).all()


def test_int8_stays_close_to_float():
    real = residual()
    x = rng.normal(size=(64, 3, 32, 32)).astype(np.float32)
    reference, candidate = Session(real, optimize=True), Session(quantized(real, x), optimize=False)
    sqnr = Sqnr()
    sqnr.add(reference(x)[0], candidate(x)[0])
    assert sqnr.db > 35


def test_the_same_ranges_give_the_same_bytes():
    x = rng.normal(size=(16, 3, 32, 32)).astype(np.float32)
    one, two = (quantized(residual(), x).SerializeToString(deterministic=True) for _ in "12")
    assert one == two


def test_the_source_is_not_touched():
    model = residual()
    before = model.SerializeToString()
    quantized(model)
    assert model.SerializeToString() == before
