"""QDQ models of operators of two operands and of copies; and whole models that were rewritten."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.targets import profile
from tests.compiler.float_models import make, write
from tests.compiler.integer_forms import FORMS, model_of, quantized, samples
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import check

# In one network, that one program has them all: each from h, (N, 6, 8, 10), to rows of a product.
REWRITTEN = """
    h = LeakyRelu <alpha = 0.5> (x)
    soft = Softmax <axis = 1> (h)
    strong = ReduceMax (h, channel)
    mean = ReduceMean (h, channel)
    gate = Sigmoid (mean)
    gated = Mul (h, gate)
    wide = Expand (strong, shape)
    kept = Where (mask, gated, wide)
    normal = InstanceNormalization (kept, slopes, offsets)
    near = LRN <size = 3, alpha = 0.5> (normal)
    all = Sum (near, soft, h)
    lines = ReduceMin <keepdims = 0> (all, last)
    scaled = BatchNormalization (lines, slopes, offsets, offsets, spread)
    long = ReduceL2 (all, channel)
    flat_a = Flatten (scaled)
    flat_b = Flatten (long)
    both = Concat <axis = 1> (flat_a, flat_b)
    y = MatMul (both, mix)
"""


def test_operators_of_two_operands_have_the_bits_of_real_numbers(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    m = QdqModel(seed=21)
    x = m.q(m.input("x", 2, 5, 6, 7), scale=0.02, zero=11)
    a = m.q(m.conv(x, 5, 5, 1, 1, out="a"), 0.31, -7)
    b = m.q(m.conv(x, 5, 5, 1, 1, out="b"), 0.27, 20)
    codes = m.const(m.rng.integers(-128, 128, (5, 1, 1)), "int8")
    slopes = m.op(
        "DequantizeLinear", codes, m.const(0.0313, "float32"), m.const(-7, "int8"), out="slopes"
    )
    larger = m.q(m.op("Max", a, b, out="larger"), 0.29, 4)
    smaller = m.q(m.op("Relu", m.op("Min", a, slopes, out="less"), out="smaller"), 0.1, -128)
    bent = m.q(m.op("PRelu", larger, slopes, out="bent"), 0.41, -3)
    ratio = m.q(m.op("Div", bent, b, out="ratio"), 0.037, 5)
    result = check(m.save(tmp_path / "net.onnx", ratio, smaller), target)
    found = {gap.op: gap for gap in result.layers}
    assert {"max", "min", "prelu", "div"} <= found.keys()
    assert sum(found[op].differing for op in ("max", "min", "prelu", "div")) == 0


def test_copies_are_exact(tmp_path: Path, target: profile.TargetProfile) -> None:
    m = QdqModel(seed=22)
    x = m.q(m.input("x", 1, 3, 4, 5), scale=0.02, zero=11)
    tiles = m.op("Tile", x, m.const([1, 2, 1, 3], "int64"), out="tiles")
    mixed = m.q(m.conv(tiles, 6, 6, 3, 3, out="mixed", pads=[1, 1, 1, 1]), 0.41, -3)
    pool = m.q(m.op("GlobalAveragePool", mixed, out="pool"), 0.2, 4)
    wide = m.op("Expand", pool, m.const([2, 1, 6, 4, 5], "int64"), out="wide")
    result = check(m.save(tmp_path / "net.onnx", mixed, wide), target)
    assert not any(gap.op == "fallback" for gap in result.layers)


def rewritten() -> onnx.ModelProto:
    rng = np.random.default_rng(23)
    constants = {
        "channel": np.array([1]), "last": np.array([3]), "shape": np.array([1, 6, 8, 10]),
        "mask": rng.random((8, 10)) < 0.5, "slopes": rng.normal(size=6), "offsets": np.zeros(6),
        "spread": np.ones(6), "mix": rng.normal(size=(6 * 8 + 80, 10)) / 11,
    }  # fmt: skip
    floats = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in constants.items()}
    return make(REWRITTEN, {}, x="N, 6, 8, 10", y="N, 10", constants=floats)


def test_what_was_rewritten_is_one_integer_program(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    x = np.random.default_rng(24).normal(size=(16, 6, 8, 10)).astype(np.float32)
    result = check(write(quantized(rewritten(), x), tmp_path / "net.onnx"), target)
    assert not any(gap.op in ("fallback", "function") for gap in result.layers)
    assert max(gap.max_steps or 0 for gap in result.integer_layers) <= 1
    assert sum(gap.differing for gap in result.integer_layers) <= 20  # ties


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_exact(tmp_path: Path, name: str) -> None:
    model = quantized(model_of(FORMS[name]), samples(FORMS[name]))
    result = check(write(model, tmp_path / "net.onnx"), profile.load("x86-64-v3"))
    integer = [gap for gap in result.integer_layers if "float" not in gap.op]
    assert integer
    assert max(gap.max_steps or 0 for gap in integer) <= 1
    assert all(gap.differing <= max(2, gap.elements / 500) for gap in integer)  # ties
