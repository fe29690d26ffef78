import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.products import (
    ModelWeights,
    RoundedWeights,
    from_rows,
    in_rows,
    products,
)
from tests.compiler.float_models import make, residual
from tests.compiler.quantization.schemes import bench

rng = np.random.default_rng(5)


def test_every_layer_with_constant_weights_is_found() -> None:
    quantized = bench(residual()).scheme.quantized()
    found = products(quantized)
    assert [(product.name, product.op) for product in found] == [
        ("a", "Conv"), ("c", "Conv"), ("y", "Gemm"),
    ]  # fmt: skip
    assert all(product.bias_codes and product.codes for product in found)


def test_a_matmul_has_no_bias_and_its_channels_come_last() -> None:
    model = make(
        "f = Flatten (x)\n h = MatMul (f, w1)\n r = Relu (h)\n y = MatMul (r, w2)",
        {"w1": (3072, 12), "w2": (12, 10)},
    )
    quantized = bench(model).scheme.quantized()
    weights = ModelWeights(quantized)
    for product in products(quantized):
        rows = weights.read(product).scale.shape[0]
        assert weights[product.codes].shape[product.axis] == rows


def test_weights_that_are_written_back_change_nothing() -> None:
    quantized = bench(residual()).scheme.quantized()
    before = {w.name: onnx.numpy_helper.to_array(w) for w in quantized.graph.initializer}
    weights = ModelWeights(quantized)
    for product in products(quantized):
        weights.write(product, weights.read(product))
    assert before
    for name, array in before.items():
        np.testing.assert_array_equal(weights[name], array)


def test_a_bias_keeps_its_value_when_the_scale_of_the_weights_changes() -> None:
    quantized = bench(residual()).scheme.quantized()
    weights = ModelWeights(quantized)
    product = products(quantized)[1]
    before = weights.read(product)
    assert before.bias is not None
    half = RoundedWeights(codes=before.codes // 2, scale=before.scale * 2, bias=before.bias)
    weights.write(product, half)
    np.testing.assert_allclose(weights.read(product).bias, before.bias, atol=1e-4)
    onnx.checker.check_model(quantized, full_check=True)
    x = rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    assert np.isfinite(Session(quantized, optimize=False)(x)[0]).all()


@pytest.mark.parametrize(("shape", "axis"), [((4, 3, 3, 3), 0), ((6, 5), 1), ((6, 5), 0)])
def test_rows_are_the_weights_of_a_channel(shape: tuple[int, ...], axis: int) -> None:
    weights = rng.normal(size=shape)
    rows = in_rows(weights, axis)
    assert rows.shape == (shape[axis], weights.size // shape[axis])
    np.testing.assert_array_equal(rows[1].ravel(), weights.take(1, axis).ravel())
    np.testing.assert_array_equal(from_rows(rows, shape, axis), weights)
