import numpy as np
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.products import ModelWeights, products
from edgekiln.compiler.quantization.ranges import with_outputs
from edgekiln.compiler.quantization.walk import LayerWalk
from tests.compiler.float_models import residual
from tests.compiler.quantization.schemes import bench


@pytest.fixture(scope="module")
def net():
    return bench(residual())


def test_each_layer_gives_what_it_gives_in_the_whole_model(net):
    quantized = net.scheme.quantized()
    calls = net.calls()
    layers = products(quantized)
    names = [layer.output for layer in layers]
    whole = Session(with_outputs(quantized, names), optimize=False)
    walk = LayerWalk(quantized, calls, optimize=False)
    assert names == ["ra", "c", "y"]
    for layer in layers:
        for call, found in zip(calls, walk.of(layer.name), strict=True):
            np.testing.assert_array_equal(found, whole(call, [layer.output])[0])


def test_a_layer_that_is_changed_on_the_way_changes_what_lies_behind(net):
    quantized = net.scheme.quantized()
    weights = ModelWeights(quantized)
    first, *_, last = products(quantized)
    walk = LayerWalk(quantized, net.calls(), optimize=False)
    walk.of(first.name)
    weights[first.codes] = np.zeros_like(weights[first.codes])
    whole = Session(with_outputs(quantized, [last.output]), optimize=False)
    wanted = np.concatenate([whole(call, [last.output])[0] for call in net.calls()])
    np.testing.assert_array_equal(np.concatenate(walk.of(last.name)), wanted)


def test_a_layer_can_be_tried_with_other_inputs(net):
    walk = LayerWalk(net.model, net.calls(), optimize=True)
    real = walk.before("c", "ra")
    without = np.concatenate(walk.of("c", {"ra": [np.zeros_like(array) for array in real]}))
    assert np.ptp(without, axis=(0, 2, 3)).max() < 1e-6  # the bias alone
    assert np.ptp(np.concatenate(walk.of("c"))) > 0.1
