"""What the quantize stage refuses, in which words."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime.errors import AccuracyError, ConfigError, InputError, UnsupportedError
from tests.compiler.float_models import make, residual, write
from tests.compiler.quantizing import quantize, refused, unbalanced


@pytest.fixture
def float_model(tmp_path) -> Path:
    """A user's file: valid ONNX that says nothing about itself."""
    return write(residual(), tmp_path / "float.onnx")


def test_a_result_that_lost_the_signal_is_refused(tmp_path):
    src = write(unbalanced(), tmp_path / "m.onnx")
    error = refused(src, AccuracyError, equalize_below=0.0)
    assert error.message == ("quantize: an SQNR of -0.4 dB is below the 10 dB that are accepted")
    assert "--accept-sqnr -1" in error.hint
    assert error.exit_code == 6
    _, metrics, _ = quantize(src, equalize_below=0.0, accept_sqnr=-1.0)
    assert metrics["sqnr_db"] < 0


def test_an_output_of_zeros_is_refused(tmp_path):
    body = "h = Gemm <transB = 1> (x, w, b)\n r = Relu (h)\n y = Gemm <transB = 1> (r, v)"
    below = np.full(8, -1e6, np.float32)
    weights = {"w": (8, 3072), "v": (10, 8)}
    model = make(body, weights, x="N, 3072", constants={"b": below})
    error = refused(write(model, tmp_path / "m.onnx"), AccuracyError)
    assert error.message == (
        "quantize: the model's output is NaN, or nothing but zeros, on the validation samples"
    )
    assert error.hint == "check the weights, and the data's scale, mean and std"


def test_excluding_everything_is_refused(float_model):
    error = refused(float_model, UnsupportedError, exclude=("*",))
    assert error.message == (
        "no operation of the model can be quantized: Conv excluded; Relu excluded; Add excluded; "
        "GlobalAveragePool excluded; Flatten excluded"
    )
    assert error.hint == "exclude fewer operations, or build a float program: --precision float32"


def test_a_model_of_operators_without_an_integer_form_is_refused(tmp_path):
    body = "y = CumSum (x, axis)"
    model = make(body, {}, x="N, 3072", y="N, 3072", constants={"axis": np.array(1)})
    error = refused(write(model, tmp_path / "m.onnx"), UnsupportedError)
    assert error.message == (
        "no operation of the model can be quantized: CumSum has no integer form"
    )


def test_an_operator_without_any_form_is_refused_by_name(tmp_path):
    body = "h = Gemm <transB = 1> (x, w)\n m = Reshape (h, square)\n y = Det (m)"
    square = {"square": np.array([-1, 4, 4])}
    model = make(body, {"w": (16, 3072)}, x="N, 3072", y="N", constants=square)
    error = refused(write(model, tmp_path / "m.onnx"), UnsupportedError)
    assert error.message == "operator Det ('y') is not supported: it has no kernel"


def test_a_model_without_data_asks_for_it(float_model):
    error = refused(float_model, ConfigError, data="")
    assert error.message == "the model does not name the data it was trained on"
    assert error.hint == (
        "say which to use: --data digits, or a folder, .npz, IDX or CIFAR file; samples without "
        "labels will do: --calibrate pictures/"
    )
    assert error.exit_code == 2


def test_data_of_another_shape_is_refused_with_both_shapes(tmp_path):
    src = write(residual(x="N, 3, 28, 28"), tmp_path / "m.onnx")
    error = refused(src, InputError)
    assert error.message == (
        "samples of digits have the shape (3, 32, 32), the model takes (3, 28, 28)"
    )
    assert error.exit_code == 3


def test_a_quantized_model_is_refused(float_model):
    quantize(float_model)
    again = float_model.with_name("int8.onnx").rename(float_model.with_name("again.onnx"))
    error = refused(again, UnsupportedError)
    assert error.message == "the model is quantized already"
    assert error.exit_code == 4


def test_a_fixed_batch_larger_than_the_data_is_refused(tmp_path):
    src = write(residual(x="5000, 3, 32, 32", y="5000, 10"), tmp_path / "m.onnx")
    error = refused(src, InputError)
    assert error.message == "the data has fewer samples than the model's fixed batch of 5000"
    assert error.hint == "give more data, or export the model with an open batch"


def test_open_image_sizes_are_refused(tmp_path):
    src = write(residual(x="N, 3, H, W"), tmp_path / "m.onnx")
    assert refused(src, UnsupportedError).message == (
        "input 'x' has the shape (N, 3, H, W): only the batch may be open"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentile": 40.0}, "quantize: percentile = 40.0"),
        ({"samples": -1}, "quantize: samples = -1, batch = 32"),
        ({"batch": 0}, "quantize: samples = 512, batch = 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        QuantizeStage(**options)
    assert caught.value.message == message
