"""Weights in blocks: taken as the real numbers that they are, whose codes are found again."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.build.resolve import begin_stage
from edgekiln.compiler.onnx_model import operators, weight_blocks
from edgekiln.compiler.onnx_model.equivalents import write_in_others
from edgekiln.compiler.onnx_model.weight_blocks import blocks_of, size_of_blocks
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime import bundle
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets import profile
from tests.compiler import quantizing
from tests.compiler.onnx_model.same_numbers import assert_same_numbers, by_onnxruntime
from tests.compiler.onnx_model.same_numbers import operators as kinds
from tests.e2e.compiled_models import build, check

K, N, ROWS = 96, 40, 3


@given(
    st.integers(0, 1 << 16), st.sampled_from([16, 32, 64, 128]), st.booleans(),
    st.sampled_from([1e-30, 0.01, 1e20]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_codes_are_found_again(seed: int, size: int, signed: bool, unit: float) -> None:
    rng = np.random.default_rng(seed)
    rows, k = 20, int(rng.integers(60, 300))
    count = -(-k // size)
    codes = rng.integers(0, 16, (rows, count * size)).astype(np.float32)
    zeros = rng.integers(0, 16, (rows, count, 1)) if not signed else np.full((rows, count, 1), 8)
    scales = (rng.uniform(0.5, 2, (rows, count, 1)) * unit).astype(np.float32)
    # ONNX Runtime's quantizer gives symmetric blocks a negative scale where -8 is a positive one.
    scales *= rng.choice([-1, 1], scales.shape) if signed else 1
    scales[0, 0] = 0
    steps = codes.reshape(rows, count, size) - zeros.astype(np.float32)
    weights = (steps * scales).reshape(rows, -1)[:, :k]
    found = size_of_blocks(weights)
    assert found is not None
    blocks = blocks_of(weights, found)
    assert blocks.codes.max() <= 15
    assert blocks.zeros.max() <= 15
    again = blocks.codes.astype(np.float32)
    again -= np.repeat(blocks.zeros, found, axis=1)[:, :k]
    again *= np.repeat(blocks.factors, found, axis=1)[:, :k]
    np.testing.assert_array_equal(again, weights)


@pytest.mark.parametrize("bits", [5, 8])
def test_numbers_of_more_bits_stay_as_they_are(bits: int) -> None:
    rng = np.random.default_rng(0)
    assert size_of_blocks(rng.normal(size=(64, 64)).astype(np.float32)) is None
    codes = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (64, 64))
    codes[:, ::16] = -(1 << (bits - 1))
    assert size_of_blocks((codes * 0.37).astype(np.float32)) is None


@pytest.mark.parametrize("k", [1, 3])
def test_rows_too_short_for_a_scale_each_stay_as_they_are(k: int) -> None:
    weights = np.random.default_rng(0).integers(-8, 8, (2048, k)).astype(np.float32)
    assert size_of_blocks(weights) is None


def test_rows_of_zeros_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    weights[0] = 0.0
    seen, whole_steps = 0, weight_blocks._whole_steps

    def counted(parts: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal seen
        seen += parts.size
        return whole_steps(parts, scales)

    monkeypatch.setattr(weight_blocks, "_whole_steps", counted)
    assert size_of_blocks(weights) is None
    assert seen < weights.size


def of_onnx(kind: int, axis: int, size: int, *, asymmetric: bool) -> onnx.ModelProto:
    rng = np.random.default_rng(size)
    shape, least = (K, N), 0 if kind in (TensorProto.UINT4, TensorProto.UINT8) else -8
    of_scale = tuple(-(-e // size) if i == axis else e for i, e in enumerate(shape))
    weights = [
        helper.make_tensor("w", kind, shape, rng.integers(least, least + 16, shape).ravel()),
        numpy_helper.from_array(rng.uniform(0.01, 0.1, of_scale).astype(np.float32), "s"),
    ]
    if asymmetric:
        zeros = rng.integers(least, least + 16, of_scale)
        weights.append(helper.make_tensor("z", kind, of_scale, zeros.ravel()))
    names = ["w", "s", *(["z"] if asymmetric else [])]
    nodes = [
        helper.make_node("DequantizeLinear", names, ["real"], axis=axis, block_size=size),
        helper.make_node("MatMul", ["x", "real"], ["y"], name="y"),
    ]
    return model_of(nodes, weights, "")


def of_onnxruntime(
    bits: int, size: int, zeros: str, *, bias: bool, level: int = 0
) -> onnx.ModelProto:
    rng = np.random.default_rng(bits * size)
    count = -(-K // size)
    parts = {
        "w": rng.integers(0, 256, (N, count, size * bits // 8)).astype(np.uint8),
        "s": rng.uniform(-0.1, 0.1, (N, count)).astype(np.float32),
    }
    if zeros == "packed":
        parts["z"] = rng.integers(0, 256, (N, -(-count * bits // 8))).astype(np.uint8)
    elif zeros:
        parts["z"] = rng.uniform(0, 15, (N, count)).astype(np.float32)
    if bias:
        parts["b"] = rng.normal(size=N).astype(np.float32)
    names = ["x", "w", "s", "z" if zeros else "", "", "b" if bias else ""]
    while not names[-1]:
        names.pop()
    node = helper.make_node(
        "MatMulNBits", names, ["y"], name="y", domain="com.microsoft", K=K, N=N, bits=bits,
        block_size=size, accuracy_level=level,
    )  # fmt: skip
    return model_of(
        [node], [numpy_helper.from_array(v, n) for n, v in parts.items()], "com.microsoft"
    )


def model_of(
    nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], domain: str
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (ROWS, K))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (ROWS, N))], weights,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


X = np.random.default_rng(1).normal(size=(ROWS, K)).astype(np.float32)


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8])
@pytest.mark.parametrize(("axis", "size"), [(0, 32), (1, 8), (0, 96)])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_a_dequantizelinear_in_blocks_is_its_numbers(
    kind: int, axis: int, size: int, asymmetric: bool
) -> None:
    model = of_onnx(kind, axis, size, asymmetric=asymmetric)
    made = assert_same_numbers(model, write_in_others, run=by_onnxruntime, x=X)
    assert "DequantizeLinear" not in kinds(made)


@pytest.mark.parametrize(
    ("bits", "size", "zeros", "bias"),
    [(4, 32, "", False), (4, 32, "packed", True), (4, 16, "packed", False), (4, 128, "", True),
     (4, 32, "floats", False), (8, 32, "", False)],
)  # fmt: skip
def test_a_product_of_few_bits_is_onnxruntimes(
    bits: int, size: int, zeros: str, bias: bool
) -> None:
    model = of_onnxruntime(bits, size, zeros, bias=bias)
    (expected,) = by_onnxruntime(model, {"x": X})
    assert write_in_others(model)
    (found,) = by_onnxruntime(model, {"x": X})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert "MatMulNBits" not in kinds(model)


def test_a_product_whose_weights_are_no_constants_is_refused_by_name() -> None:
    model = of_onnxruntime(4, 32, "", bias=False)
    (scale,) = (each for each in model.graph.initializer if each.name == "s")
    model.graph.initializer.remove(scale)
    value = helper.make_tensor_value_info("s", TensorProto.FLOAT, scale.dims)
    model.graph.input.append(value)
    write_in_others(model)
    with pytest.raises(UnsupportedError, match=r"operator MatMulNBits \('y'\) is not supported: "):
        operators.check(model)


@pytest.mark.parametrize("target", ["x86-64-v3", "cortex-m7"])
def test_programs_keep_them_in_four_bits(tmp_path: Path, target: str) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(of_onnxruntime(4, 32, "packed", bias=False), path)
    spec, _ = bundle.read_program(build(path, profile.load(target)))
    # Half a byte each, and of 32 a scale and a byte for the zero point.
    assert spec.weights_bytes < K * N * (0.5 + 5 / 32) * 1.2 + 256


@pytest.mark.parametrize("kind", ["onnx", "onnxruntime"])
def test_quantize_makes_codes_of_all_else_too(tmp_path: Path, kind: str) -> None:
    blocks = of_onnx(TensorProto.UINT4, 0, 32, asymmetric=True)
    # At this level ONNX Runtime rounds the activations of its product.
    products = of_onnxruntime(4, 32, "packed", bias=True, level=4)
    path = tmp_path / "net.onnx"
    onnx.save(blocks if kind == "onnx" else products, path)
    assert begin_stage(Store(tmp_path / "store"), "quantize", str(path), Recipe()).kind == "onnx"
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, K)).astype(np.float32))
    made, metrics, _ = quantizing.quantize(path, data=str(tmp_path / "x.npy"))
    assert kinds(made).count("QuantizeLinear") == 1  # an output is float
    assert metrics["sqnr_db"] > 30


def test_programs_are_held_against_products_of_floats(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(of_onnxruntime(4, 32, "packed", bias=True, level=4), path)
    check(path, profile.load("x86-64-v3"))
