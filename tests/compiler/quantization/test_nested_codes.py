"""A narrower network takes the codes of the wider one, and keeps what it computes."""

import numpy as np
import onnx
import pytest

from edgekiln.compiler.quantization.nested_codes import shared_share, take_codes
from edgekiln.compiler.quantization.products import (
    ModelWeights,
    RoundedWeights,
    from_rows,
    in_rows,
    products,
)
from tests.compiler.nested_models import NestedNet


@pytest.fixture
def models(tmp_path):
    """The wider one, and a narrower one whose channels are some factor times as large, rounded for
    itself, as one that is trained with it and has its own batch norm.
    """
    net = NestedNet(16)
    wide, narrow = (onnx.load(net.save(tmp_path / f"{w}.onnx", w)) for w in (16, 8))
    draw = np.random.default_rng(1)
    weights = ModelWeights(narrow)
    for layer in products(narrow):
        own = weights.read(layer)
        rows = in_rows(own.codes, layer.axis) * own.scale[:, None]
        rows *= draw.uniform(0.3, 3, (len(rows), 1))
        scale = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
        codes = np.rint(rows / scale[:, None]).astype(np.int8)
        codes = from_rows(codes, own.codes.shape, layer.axis)
        weights.write(layer, RoundedWeights(codes=codes, scale=scale, bias=own.bias))
    return wide, narrow


def real(model):
    weights = ModelWeights(model)
    return [
        in_rows(weights[layer.codes], layer.axis) * weights.real(layer.scale)[:, None]
        for layer in products(model)
    ]


def test_the_codes_become_the_wider_ones_and_the_weights_stay(models):
    wide, narrow = models
    before, biases = real(narrow), [ModelWeights(narrow).bias(each) for each in products(narrow)]
    assert shared_share(wide, narrow) < 0.5
    assert take_codes(wide, narrow) == len(products(narrow)) == 4
    assert shared_share(wide, narrow) == 1
    for was, now, layer, bias in zip(before, real(narrow), products(narrow), biases, strict=True):
        step = ModelWeights(narrow).real(layer.scale)[:, None]
        assert np.abs(now - was).max() <= 1.01 * max(step.max(), np.abs(was).max() / 127)
        if bias is not None:
            again = ModelWeights(narrow).bias(layer)
            np.testing.assert_allclose(again, bias, atol=float(np.abs(bias).max()) / 100)


def test_a_shallower_network_finds_its_layers_behind_those_that_it_has_not(models):
    wide, narrow = models
    gone = products(narrow)[1]
    (conv,) = (node for node in narrow.graph.node if gone.output in node.output)
    for node in narrow.graph.node:
        node.input[:] = [conv.input[0] if n == conv.output[0] else n for n in node.input]
    narrow.graph.node.remove(conv)
    assert take_codes(wide, narrow) == len(products(narrow)) == 3
    assert shared_share(wide, narrow) == 1


def test_a_layer_with_weights_of_its_own_keeps_its_codes(models):
    wide, narrow = models
    layer = products(narrow)[1]
    weights = ModelWeights(narrow)
    codes = weights[layer.codes].copy()
    codes[0] = -codes[0]  # a negative factor is no scale
    weights[layer.codes] = codes
    assert take_codes(wide, narrow) == 3
    np.testing.assert_array_equal(ModelWeights(narrow)[layer.codes], codes)


def test_nothing_is_taken_of_another_network(models, tmp_path):
    _, narrow = models
    other = onnx.load(NestedNet(16, seed=5).save(tmp_path / "other.onnx", 16))
    before = narrow.SerializeToString()
    assert take_codes(other, narrow) == 0
    assert narrow.SerializeToString() == before
