from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.corrections import CORRECTIONS
from edgekiln.compiler.quantization.learned_rounding import learn_rounding
from edgekiln.compiler.quantization.patches import patches
from edgekiln.compiler.quantization.products import ModelWeights, RoundedWeights, in_rows, products
from tests.compiler.float_models import make
from tests.compiler.quantization.schemes import Bench, bench


def coarse(net: Bench) -> onnx.ModelProto:
    """The int8 model with weights of five bits, rounded to the nearest: there rounding matters."""
    quantized = net.scheme.quantized()
    weights = ModelWeights(quantized)
    for product in products(quantized):
        found = weights.read(product)
        codes = np.rint(found.codes / 8).astype(np.int8)
        wide = RoundedWeights(codes=codes, scale=found.scale * 8, bias=found.bias)
        weights.write(product, wide)
    return quantized


def one_layer() -> Bench:
    body = """
        a = Conv <kernel_shape = [3, 3], strides = [2, 2]> (x, w1, b1)
        r = Relu (a)
        p = GlobalAveragePool (r)
        f = Flatten (p)
        y = Gemm <transB = 1> (f, w2, b2)
    """
    shapes = {"w1": (12, 3, 3, 3), "b1": (12,), "w2": (10, 12), "b2": (10,)}
    return bench(make(body, shapes))


@pytest.fixture(scope="module")
def learned() -> tuple[Bench, onnx.ModelProto, onnx.ModelProto]:
    """The net, its coarse int8 model, and the same with learned rounding."""
    net = one_layer()
    nearest, found = coarse(net), coarse(net)
    assert learn_rounding(net.model, found, net.calls(64), 0, lambda *_: None) >= 1
    return net, nearest, found


def test_sums_are_nearer_than_with_the_nearest_codes(learned) -> None:
    net, nearest, found = learned
    before, after = (net.judge.verdict(model).sqnr_db for model in (nearest, found))
    assert after > before + 3


def test_every_weight_is_rounded_up_or_down(learned) -> None:
    net, _, found = learned
    weights, real = ModelWeights(found), ModelWeights(net.model)
    for product, name in zip(products(found), ("w1", "w2"), strict=True):
        steps = in_rows(real[name], product.axis) / weights[product.scale][:, None]
        assert np.abs(in_rows(weights[product.codes], product.axis) - steps).max() < 1.0


def test_a_seed_gives_the_same_codes(learned) -> None:
    net, _, found = learned
    again = coarse(net)
    learn_rounding(net.model, again, net.calls(64), 0, lambda *_: None)
    assert again.SerializeToString() == found.SerializeToString()


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ("kernel_shape = [3, 3], pads = [1, 1, 1, 1]", (4, 6, 3, 3)),
        ("kernel_shape = [3, 2], strides = [2, 1], dilations = [2, 1]", (4, 6, 3, 2)),
        ("kernel_shape = [5, 5], pads = [0, 1, 2, 3], group = 6", (6, 1, 5, 5)),
        ("kernel_shape = [1, 1], group = 2", (4, 3, 1, 1)),
    ],
)
def test_rows_times_weights_are_what_a_convolution_gives(
    attributes: str, shape: tuple[int, ...]
) -> None:
    model = make(f"y = Conv <{attributes}> (x, w)", {"w": shape}, x="N, 6, 9, 8", y="N, A, B, C")
    rng = np.random.default_rng(2)
    calls = [rng.normal(size=(3, 6, 9, 8)).astype(np.float32) for _ in range(2)]
    session = Session(model, optimize=True)
    wanted = [session(call)[0] for call in calls]
    found = patches(model.graph.node[0], shape, list(calls), wanted, seed=0)
    assert found is not None
    weights = ModelWeights(model)["w"].reshape(len(found.given), -1, found.given.shape[2])
    sums = found.given @ weights.transpose(0, 2, 1)
    np.testing.assert_allclose(sums, found.wanted, rtol=1e-4, atol=1e-5)


def test_a_convolution_whose_padding_depends_on_the_input_is_left_alone() -> None:
    model = make(
        'y = Conv <kernel_shape = [3, 3], auto_pad = "SAME_UPPER"> (x, w)', {"w": (4, 6, 3, 3)},
        x="N, 6, 9, 8", y="N, A, B, C",
    )  # fmt: skip
    x = np.zeros((1, 6, 9, 8), np.float32)
    assert patches(model.graph.node[0], (4, 6, 3, 3), [x], [x], seed=0) is None


def test_no_correction_makes_weights_of_more_bits() -> None:
    net = one_layer()
    scheme = replace(net.scheme, weight_bits=7)
    for correction in CORRECTIONS.values():
        scheme = correction(scheme, net.work)
    assert set(scheme.weights)
    model = scheme.quantized()
    weights = ModelWeights(model)
    assert max(np.abs(weights[p.codes].astype(int)).max() for p in products(model)) == 63
