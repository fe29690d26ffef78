"""Whole QDQ models through the compiler and the C compiler, against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekiln.benchmarks.sanitizer import program as sanitizer
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.runtime.errors import GateError
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler.qdq_models import QdqModel
from tests.compiler.random_nets.net import RandomNet
from tests.e2e.compiled_models import build, check, residual_net


def test_a_residual_network_is_exact_layer_by_layer(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    result = check(residual_net(tmp_path / "net.onnx"), target, samples=8)
    assert len(result.integer_layers) == 6
    assert sum(gap.differing for gap in result.integer_layers) <= 8  # float ties
    assert result.agreement == 1.0


def test_a_compact_program_has_smaller_weights_and_the_same_bits(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    if target.gpu:
        pytest.skip("a GPU's weights are no larger for speed")
    m = QdqModel(seed=8)
    x = m.q(m.input("x", 1, 32, 12, 13), scale=0.02, zero=-5)
    y = m.q(m.conv(x, 32, 32, 3, 3, out="y", pads=[1, 1, 1, 1]), scale=2.0, zero=4)
    model = m.save(tmp_path / "net.onnx", y)
    outputs, weights = [], []
    for compact in (False, True):
        runner = AotRunner.open(build(model, target, compact=compact))
        (batch,) = batches_for(runner.spec, model, data="", seed=1, samples=1)
        outputs.append(runner.run(*batch.values())[0])
        weights.append(runner.spec.weights_bytes)
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert weights[0] - weights[1] == 32 * 32 * (2 * 36 - 9)


def test_a_zero_point_that_is_left_out_is_zero(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    model = onnx.load(residual_net(tmp_path / "net.onnx"))
    zeros = {c.name for c in model.graph.initializer if not numpy_helper.to_array(c).any()}
    left_out = 0
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[2] in zeros:
            del node.input[2]
            left_out += 1
    assert left_out == 9  # of weights and biases
    onnx.save(model, tmp_path / "net.onnx")
    assert check(tmp_path / "net.onnx", target).agreement == 1.0


def test_mobile_blocks_are_exact(tmp_path: Path, target: profile.TargetProfile) -> None:
    """Depthwise with stride, squeeze-excite with a hard sigmoid, linear bottleneck, swish."""
    m = QdqModel(seed=4)
    x = m.q(m.input("x", 1, 16, 9, 11), scale=0.02)
    dw = m.conv(x, 16, 1, 3, 3, out="dw", group=16, strides=[2, 2], pads=[1, 1, 1, 1])
    dw = m.q(
        m.op("Clip", dw, m.const(0, "float32"), m.const(6, "float32"), out="relu6"), 0.024, -128
    )
    gap = m.q(m.op("GlobalAveragePool", dw, out="gap"), 0.02, -128)
    squeeze = m.q(m.op("Relu", m.conv(gap, 4, 16, 1, 1, out="sq"), out="sq_r"), 0.02, -128)
    excite = m.q(m.conv(squeeze, 16, 4, 1, 1, out="ex"), 0.03, 1)
    gate = m.q(m.op("HardSigmoid", excite, out="gate", alpha=1 / 6, beta=0.5), 1 / 255, -128)
    scaled = m.q(m.op("Mul", dw, gate, out="scaled"), 0.02, -128)
    point = m.q(m.conv(scaled, 24, 16, 1, 1, out="pw"), 0.1, 7)
    swish = m.op("Mul", point, m.op("Sigmoid", point, out="sigmoid"), out="swish")
    y = m.q(swish, 0.05, -122)
    result = check(m.save(tmp_path / "net.onnx", y), target)
    assert [name for name in result.unchecked if "float" in name] == []


def test_gates_and_shuffles_are_exact(tmp_path: Path, target: profile.TargetProfile) -> None:
    """Hard-swish with a quantized gate, concat of two scales and channel shuffle, the mean of
    tokens.
    """
    m = QdqModel(seed=6)
    x = m.q(m.input("x", 1, 12, 5, 6), scale=0.02, zero=11)
    a = m.q(m.conv(x, 20, 12, 1, 1, out="a"), 0.05, -7)
    gate = m.q(m.op("HardSigmoid", a, out="gate", alpha=1 / 6, beta=0.5), 1 / 255, -128)
    swish = m.q(m.op("Mul", a, gate, out="swish"), 0.031, -100)
    b = m.q(m.conv(x, 20, 12, 1, 1, out="b"), 0.047, -90)
    both = m.q(m.op("Concat", swish, b, out="both", axis=1), 0.031, -100)
    split = m.op("Reshape", both, m.const([1, 2, 20, 5, 6], "int64"), out="split")
    swap = m.op("Transpose", split, out="swap", perm=[0, 2, 1, 3, 4])
    mixed = m.op("Reshape", swap, m.const([1, 40, 5, 6], "int64"), out="mixed")
    m.nodes.append(helper.make_node("Split", [mixed], ["left", "right"], axis=1, num_outputs=2))
    m.scales |= {"left": m.scales[both], "right": m.scales[both]}
    c = m.q(m.conv("left", 8, 20, 3, 3, out="c", pads=[1, 1, 1, 1]), 0.4, -3)
    tokens = m.op("Reshape", "right", m.const([1, 20, 30], "int64"), out="tokens")
    mean = m.op("ReduceMean", tokens, m.const([1], "int64"), out="mean", keepdims=0)
    result = check(m.save(tmp_path / "net.onnx", c, m.q(mean, 0.02, 5)), target)
    assert not any(gap.op in ("fallback", "mul", "concat") for gap in result.layers)


def test_a_class_token_is_exact(tmp_path: Path, target: profile.TargetProfile) -> None:
    m = QdqModel(seed=11)
    x = m.q(m.input("x", 1, 6, 20), scale=0.02, zero=11)
    codes = m.const(m.rng.integers(-128, 128, (1, 1, 20)), "int8")
    token = m.op(
        "DequantizeLinear", codes, m.const(0.0313, "float32"), m.const(-7, "int8"), out="token"
    )
    rows = m.q(m.op("Concat", token, x, out="rows", axis=1), 0.0278, 4)
    first = m.op("Gather", rows, m.const(0, "int64"), out="first", axis=1)
    others = m.op("Gather", rows, m.const([1, 3, 5], "int64"), out="others", axis=1)
    weight, _ = m.weight(20, 10, axis=1)
    y = m.q(m.op("MatMul", first, weight, out="y"), 0.217, 3)
    z = m.q(m.op("MatMul", others, weight, out="z"), 0.217, 3)
    result = check(m.save(tmp_path / "net.onnx", y, z), target)
    assert not any(gap.op == "fallback" for gap in result.layers)


def test_products_of_activations_are_exact(tmp_path: Path, target: profile.TargetProfile) -> None:
    """Attention: heads split and joined by transposes, 1/√d, shared keys; then channels-last."""
    m = QdqModel(seed=9)
    image = m.q(m.input("x", 2, 12, 3, 5), scale=0.02, zero=11)
    conv = m.q(m.conv(image, 12, 12, 1, 1, out="conv"), 0.413, -3)  # an image of 15 pixels
    tokens = m.op("Reshape", conv, m.const([2, 12, 15], "int64"), out="tokens")
    heads = m.op("Reshape", tokens, m.const([2, 4, 3, 15], "int64"), out="heads")
    q = m.op("Transpose", heads, out="q", perm=[0, 2, 1, 3])  # (2, 3, 4, 15)
    k = m.op("Transpose", heads, out="k", perm=[0, 2, 3, 1])  # (2, 3, 15, 4)
    scaled = m.op("Div", m.op("MatMul", q, k, out="qk"), m.const(2, "float32"), out="scaled")
    scores = m.q(scaled, 9.1, -7)
    mixed = m.q(m.op("MatMul", scores, q, out="mixed"), 4000.0, 5)
    joined = m.op("Transpose", mixed, out="joined", perm=[0, 2, 1, 3])  # (2, 4, 3, 15)
    codes = m.const(m.rng.integers(-128, 128, (1, 12, 5, 7)), "int8")
    matrix = m.op(
        "DequantizeLinear", codes, m.const(0.0313, "float32"), m.const(-7, "int8"), out="matrix"
    )
    rows = m.q(m.op("MatMul", conv, matrix, out="rows"), 3.1, 2)  # reads, and is, an image
    last = m.q(m.conv(rows, 3, 12, 1, 1, out="last"), 2.1, 3)
    plain = m.op("MatMul", tokens, m.op("Transpose", tokens, out="tt", perm=[0, 2, 1]), out="raw")
    result = check(m.save(tmp_path / "net.onnx", joined, last, plain), target)
    layers = {gap.op for gap in result.layers}
    assert "matmul" in layers
    assert "fallback" not in layers
    assert not [gap for gap in result.integer_layers if gap.differing > gap.elements / 500]


@pytest.mark.parametrize("scaled", [0.1065, 0.0917], ids=["same codes", "other codes"])
def test_patches_are_rows_and_queries_scaled_without_a_pass_over_memory(
    tmp_path: Path, target: profile.TargetProfile, scaled: float
) -> None:
    m = QdqModel(seed=12)
    image = m.q(m.input("x", 1, 3, 8, 8), scale=0.02, zero=11)
    patches = m.q(m.conv(image, 12, 3, 2, 2, out="patches", strides=[2, 2]), 0.213, -3)
    flat = m.op("Reshape", patches, m.const([1, 12, 16], "int64"), out="flat")
    rows = m.op("Transpose", flat, out="rows", perm=[0, 2, 1])
    heads = m.op("Reshape", rows, m.const([1, 16, 2, 6], "int64"), out="heads")
    queries = m.op("Transpose", heads, out="queries", perm=[0, 2, 1, 3])
    half = m.op(
        "DequantizeLinear", m.const([127], "int8"), m.const(0.5 / 127, "float32"),
        m.const(0, "int8"), out="half",
    )  # fmt: skip
    halves = m.q(m.op("Mul", queries, half, out="halves"), scaled, -3)
    keys = m.op("Transpose", heads, out="keys", perm=[0, 2, 3, 1])
    scores = m.q(m.op("MatMul", halves, keys, out="scores"), 4.1, -7)
    result = check(m.save(tmp_path / "net.onnx", scores), target)
    passes = {"mul", "lookup", "transpose", "reshape", "fallback"}
    moves = {gap.op for gap in result.layers} & passes
    assert moves == (set() if scaled == 0.1065 else {"lookup"})


def test_softmax_and_layer_normalization_differ_at_ties_only(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    m = QdqModel(seed=10)
    x = m.q(m.input("x", 1, 6, 20), scale=0.02, zero=7)
    scale, bias = (m.const(m.rng.normal(size=20), "float32") for _ in range(2))
    norm = m.q(m.op("LayerNormalization", x, scale, bias, out="norm", epsilon=1e-6), 0.031, -11)
    soft = m.q(m.op("Softmax", norm, out="soft", axis=-1), 1 / 256, -128)
    path = m.save(tmp_path / "net.onnx", soft)
    result = check(path, target, samples=8)
    assert {"layer_norm", "softmax"} <= {gap.op for gap in result.integer_layers}
    assert max(gap.max_steps or 0 for gap in result.integer_layers) <= 1
    build(path, target, strict_int8=True)  # the gate has nothing to refuse


def test_what_stays_float_is_correct_and_refused_by_the_gate(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    m = QdqModel(seed=6)
    x = m.q(m.input("x", 1, 8, 16), scale=0.02)
    w, _ = m.weight(16, 16, axis=1)
    m.scales["mm"] = 0.1
    mm = m.q(m.op("MatMul", x, w, out="mm"), 0.1, 0)
    norm = m.op(
        "LayerNormalization", mm, m.const(np.ones(16), "float32"), m.const(np.zeros(16), "float32"),
        out="ln",
    )  # fmt: skip
    soft = m.q(m.op("Softmax", m.op("Gelu", norm, out="gelu"), out="soft"), 1 / 256, -128)
    path = m.save(tmp_path / "net.onnx", soft)
    check(path, target)
    with pytest.raises(GateError, match="3 quantized operators stayed float: LayerNormalization"):
        build(path, target, strict_int8=True)


@pytest.mark.parametrize("seed", [0, 3, 7, 10, 13, 16])
def test_random_networks_are_exact_and_keep_to_their_memory(
    tmp_path: Path, target: profile.TargetProfile, seed: int
) -> None:
    model = RandomNet(seed).save(tmp_path / "net.onnx")
    check(model, target, samples=2)
    lib = model.with_suffix(f".{target.name}.lib")
    (batch, *_) = batches_for(AotRunner.open(lib).spec, model, data="", seed=2, samples=1)
    sanitizer.check(lib, model, target, list(batch.values()), tmp_path / "objects")
