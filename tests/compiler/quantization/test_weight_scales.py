import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from edgekiln.compiler.quantization.products import MOST_CODE, ModelWeights, products
from edgekiln.compiler.quantization.weight_scales import mse_scales, rounded_by_mse
from tests.compiler.float_models import residual
from tests.compiler.quantization.schemes import bench


def noise(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    wide = scale[:, None].astype(np.float64)
    codes = np.clip(np.rint(rows / wide), -MOST_CODE, MOST_CODE)
    error: np.ndarray = np.square(rows - codes * wide).sum(axis=1)
    return error


@given(st.integers(0, 2**32 - 1), st.integers(1, 2000))
@example(702, 2)  # rounding the best scale to float32 made it the worse one
def test_no_channel_has_more_noise_than_at_its_largest_weight(seed: int, length: int) -> None:
    rows = np.random.default_rng(seed).standard_t(3, size=(4, length))
    plain = (np.abs(rows).max(axis=1) / MOST_CODE).astype(np.float32)
    assert (noise(rows, mse_scales(rows)) <= noise(rows, plain) * (1 + 1e-12)).all()


def test_a_weight_that_stands_alone_is_clipped_where_that_pays() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 20000))
    rows[0, 0] = 7.0
    scale = mse_scales(rows)
    assert scale[0] < 6.5 / MOST_CODE
    assert noise(rows, scale) < 0.9 * noise(rows, np.array([7.0 / MOST_CODE]))


def test_a_channel_of_zeros_has_a_scale() -> None:
    assert (mse_scales(np.zeros((2, 9))) > 0).all()


def test_the_weights_of_a_model_are_as_near_or_nearer() -> None:
    net = bench(residual())
    quantized = net.scheme.quantized()
    real, before = ModelWeights(net.model), ModelWeights(quantized)
    chosen = rounded_by_mse(net.model, quantized)
    for product, name in zip(products(quantized), ("w1", "w2", "w3"), strict=True):
        new, old = chosen[product.name], before.read(product)
        wide = (-1, *[1] * (new.codes.ndim - 1))
        errors = [
            np.square(real[name] - each.codes * each.scale.reshape(wide)).sum()
            for each in (new, old)
        ]
        assert errors[0] <= errors[1] * (1 + 1e-5)
