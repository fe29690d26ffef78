import numpy as np

from edgekiln.compiler.quantization.bias_correction import correct_biases
from edgekiln.compiler.quantization.products import ModelWeights, products
from edgekiln.compiler.quantization.scheme import with_biases
from edgekiln.compiler.quantization.walk import LayerWalk
from tests.compiler.float_models import make, residual
from tests.compiler.quantization.schemes import bench


def test_the_mean_of_every_layers_output_is_the_float_models() -> None:
    net = bench(residual())
    quantized, calls = net.scheme.quantized(), net.calls(64)
    seen: list[tuple[int, int]] = []
    count = correct_biases(net.model, quantized, calls, lambda *done: seen.append(done))
    assert count == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]
    exact = LayerWalk(net.model, calls, optimize=True)
    rounded = LayerWalk(quantized, calls, optimize=False)
    for product in products(quantized):
        axes = (0, 2, 3) if product.op == "Conv" else (0,)
        means = [np.concatenate(walk.of(product.name)).mean(axis=axes) for walk in (exact, rounded)]
        step = ModelWeights(quantized).real(product.bias_scale).max()
        np.testing.assert_allclose(means[1], means[0], atol=2 * step)


def test_it_gives_signal_back_that_rounding_has_shifted() -> None:
    net = bench(residual())
    quantized = net.scheme.quantized()
    weights = ModelWeights(quantized)
    first = products(quantized)[0]
    bias = weights.bias(first)
    assert bias is not None
    weights.set_bias(first, bias + 0.3)
    spoiled = net.judge.verdict(quantized).sqnr_db
    correct_biases(net.model, quantized, net.calls(64), lambda *_: None)
    assert net.judge.verdict(quantized).sqnr_db > spoiled + 10


def test_layers_without_a_bias_are_given_one_of_zeros() -> None:
    model = make(
        "a = Conv <kernel_shape = [3, 3]> (x, w1)\n r = Relu (a)\n p = GlobalAveragePool (r)\n"
        "f = Flatten (p)\n y = Gemm <transB = 1> (f, w2)",
        {"w1": (8, 3, 3, 3), "w2": (10, 8)},
    )
    ready = with_biases(model)
    assert [len(node.input) for node in ready.graph.node if node.op_type in ("Conv", "Gemm")] == [
        3, 3,
    ]  # fmt: skip
    net = bench(ready)
    assert all(product.bias_codes for product in products(net.scheme.quantized()))
    assert len(model.graph.node[0].input) == 2  # a copy
