from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgekiln.compiler.quantization.products import (
    WEIGHT_BITS,
    ModelWeights,
    in_rows,
    most_code,
    products,
    real_biases,
)
from edgekiln.compiler.quantization.weight_scales import (
    Scales,
    mse_scales,
    peak_scales,
    rounded_anew,
)
from tests.compiler.float_models import residual
from tests.compiler.quantization.schemes import bench

MOST_CODE = most_code()
BITS = st.sampled_from([7, 8])


def noise(rows: np.ndarray, scale: np.ndarray, largest: int = MOST_CODE) -> np.ndarray:
    wide = scale[:, None].astype(np.float64)
    codes = np.clip(np.rint(rows / wide), -largest, largest)
    error: np.ndarray = np.square(rows - codes * wide).sum(axis=1)
    return error


@given(st.integers(0, 2**32 - 1), st.integers(1, 2000), BITS)
@example(702, 2, 8)  # rounding the best scale to float32 made it the worse one
def test_no_channel_has_more_noise_than_at_its_largest_weight(
    seed: int, length: int, bits: int
) -> None:
    rows, largest = np.random.default_rng(seed).standard_t(3, size=(4, length)), most_code(bits)
    chosen, plain = (scales(rows, largest) for scales in (mse_scales, peak_scales))
    assert (noise(rows, chosen, largest) <= noise(rows, plain, largest) * (1 + 1e-12)).all()


def test_a_weight_that_stands_alone_is_clipped_where_that_pays() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 20000))
    rows[0, 0] = 7.0
    scale = mse_scales(rows, MOST_CODE)
    assert scale[0] < 6.5 / MOST_CODE
    assert noise(rows, scale) < 0.9 * noise(rows, np.array([7.0 / MOST_CODE]))


def test_a_channel_of_zeros_has_a_scale() -> None:
    assert (mse_scales(np.zeros((2, 9)), MOST_CODE) > 0).all()


def test_the_weights_of_a_model_are_as_near_or_nearer() -> None:
    net = bench(residual())
    quantized = net.scheme.quantized()
    real, before = ModelWeights(net.model), ModelWeights(quantized)
    chosen = rounded_anew(net.model, quantized, mse_scales, WEIGHT_BITS)
    for product, name in zip(products(quantized), ("w1", "w2", "w3"), strict=True):
        new, old = chosen[product.name], before.read(product)
        wide = (-1, *[1] * (new.codes.ndim - 1))
        errors = [
            np.square(real[name] - each.codes * each.scale.reshape(wide)).sum()
            for each in (new, old)
        ]
        assert errors[0] <= errors[1] * (1 + 1e-5)


def test_weights_of_7_bits_fill_their_range_and_nothing_else_changes() -> None:
    net = bench(residual())
    seven = replace(net.scheme, weight_bits=7)
    eight, narrow = ModelWeights(net.scheme.quantized()), ModelWeights(seven.quantized())
    found = products(seven.quantized())
    for product in found:
        rows = in_rows(narrow[product.codes], product.axis)
        assert (np.abs(rows).max(axis=1) == 63).all()
        np.testing.assert_array_equal(narrow[product.data_scale], eight[product.data_scale])
        real = narrow.bias(product)
        if real is not None:
            # A bias is as exact as the scale that the weights give it.
            step = narrow.real(product.bias_scale)
            assert (np.abs(real - eight.bias(product)) <= step).all()
    assert len(found) == 3


@pytest.mark.parametrize(("scales", "bits"), [(mse_scales, 8), (peak_scales, 7)])
@pytest.mark.parametrize("weight", [1e-9, 1e-44, 0.0])
def test_a_bias_stays_what_it_is_where_its_weights_are_tiny(
    scales: Scales, bits: int, weight: float
) -> None:
    """As behind a batch norm whose factor training has brought near zero."""
    model = residual()
    given = ModelWeights(model)
    tiny = np.array(given["w1"])
    tiny[0] = weight * np.sign(tiny[0])
    given["w1"] = tiny
    net = bench(model)
    quantized = net.scheme.quantized()
    weights, product = ModelWeights(quantized), products(quantized)[0]
    real = ModelWeights(net.model)[real_biases(net.model)[product.name]]
    assert abs(real[0]) > 1e-3
    for chosen in (None, rounded_anew(net.model, quantized, scales, bits)[product.name]):
        if chosen is not None:
            weights.write(product, chosen)
        found = weights.bias(product)
        assert found is not None
        np.testing.assert_allclose(found[0], real[0], rtol=1e-3)
        assert (np.abs(found - real) <= weights.real(product.bias_scale)).all()
        assert (weights.real(product.bias_scale) > 0).all()


def test_weights_rounded_anew_are_those_of_the_quantizer() -> None:
    net = bench(residual())
    quantized = net.scheme.quantized()
    weights = ModelWeights(quantized)
    again = rounded_anew(net.model, quantized, peak_scales, WEIGHT_BITS)
    for product in products(quantized):
        new, old = again[product.name], weights.read(product)
        np.testing.assert_allclose(new.scale, old.scale, rtol=1e-6)
        # A weight on the border between two codes.
        assert np.abs(new.codes.astype(int) - old.codes).max() <= 1
