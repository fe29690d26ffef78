"""QDQ models that move values: through the compilers, against ONNX Runtime."""

from pathlib import Path

import pytest
from onnx import helper

from edgekiln.targets import profile
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import check


def test_operands_written_into_their_concatenation_are_exact(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    """A SqueezeNet's fire module: neither half of the result is copied."""
    m = QdqModel(seed=7)
    x = m.q(m.input("x", 2, 8, 5, 6), scale=0.02, zero=11)
    pooled = m.op("MaxPool", x, out="pooled", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    squeezed = m.q(m.conv(pooled, 16, 8, 1, 1, out="squeezed"), 0.05, -7)
    a = m.q(m.conv(squeezed, 64, 16, 1, 1, out="a"), 0.31, -100)
    b = m.q(m.conv(squeezed, 64, 16, 3, 3, out="b", pads=[1, 1, 1, 1]), 0.31, -100)
    both = m.q(m.op("Concat", a, b, out="both", axis=1), 0.31, -100)
    y = m.q(m.conv(both, 8, 128, 1, 1, out="y"), 4.0, -3)
    result = check(m.save(tmp_path / "net.onnx", y), target)
    compared = {gap.name: gap for gap in result.integer_layers}
    assert compared["both_q"].elements == 4 * 128 * 5 * 6
    assert not any(gap.op == "concat" for gap in result.layers)


def test_pools_concat_and_movement_are_exact(tmp_path: Path, target: profile.TargetProfile) -> None:
    m = QdqModel(seed=5)
    x = m.q(m.input("x", 1, 6, 12, 10), scale=0.02, zero=11)
    a = m.op("MaxPool", x, out="mp", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    b = m.q(
        m.op("AveragePool", x, out="ap", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        0.013, -4,
    )  # fmt: skip
    odd = m.op(
        "AveragePool", x, out="ceil", kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1,
        pads=[0, 1, 1, 0], count_include_pad=1,
    )  # fmt: skip
    ceil = m.q(odd, 0.0117, 3)
    c = m.q(m.op("Concat", a, b, out="cat", axis=1), 0.021, 9)
    d = m.q(m.conv(c, 5, 12, 3, 3, out="conv", pads=[1, 1, 1, 1], group=1), 0.4, -3)
    pad = m.op("Pad", d, m.const([0, 0, 1, 0, 0, 1, 0, 2], "int64"), out="pad")
    cut = m.op(
        "Slice", pad, m.const([1], "int64"), m.const([6], "int64"), m.const([2], "int64"),
        m.const([2], "int64"), out="cut",
    )  # fmt: skip
    t = m.op("Transpose", cut, out="t", perm=[0, 2, 1, 3])
    flat = m.op("Reshape", t, m.const([1, -1], "int64"), out="flat")
    check(m.save(tmp_path / "net.onnx", flat, ceil), target)


def test_constants_splits_and_upsampling_are_exact(
    tmp_path: Path, target: profile.TargetProfile
) -> None:
    m = QdqModel(seed=8)
    x = m.q(m.input("x", 2, 8, 5, 6), scale=0.02, zero=11)
    scale = m.const(0.0313, "float32")
    codes = m.const(m.rng.integers(-128, 128, (8, 1, 1)), "int8")
    offset = m.op("DequantizeLinear", codes, scale, m.const(-7, "int8"), out="offset")
    a = m.q(m.op("Add", x, offset, out="a"), 0.0431, 5)
    m.nodes.append(helper.make_node("Split", [a], ["left", "right"], axis=1, num_outputs=2))
    m.scales |= {"left": m.scales[a], "right": m.scales[a]}
    up = m.op(
        "Resize", "left", "", m.const([1, 1, 2, 3], "float32"), out="up", mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    b = m.q(m.conv(up, 5, 4, 3, 3, out="b", pads=[1, 1, 1, 1]), 0.413, -3)
    c = m.q(m.conv("right", 6, 4, 1, 1, out="c"), 0.217, 3)
    result = check(m.save(tmp_path / "net.onnx", b, c), target)
    assert not any(gap.op == "fallback" for gap in result.layers)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_blocks_of_pixels_become_channels_and_channels_pixels(
    tmp_path: Path, target: profile.TargetProfile, mode: str
) -> None:
    """A network for super-resolution, its images of odd sizes and with borders."""
    m = QdqModel(seed=12)
    x = m.q(m.input("x", 2, 3, 9, 12), scale=0.02, zero=11)
    small = m.op("SpaceToDepth", x, out="small", blocksize=3)
    a = m.q(m.conv(small, 20, 27, 3, 3, out="a", pads=[1, 1, 1, 1]), 0.517, -3)
    large = m.op("DepthToSpace", a, out="large", blocksize=2, mode=mode)
    b = m.q(m.conv(large, 18, 5, 3, 3, out="b", pads=[1, 1, 1, 1]), 0.713, 5)
    y = m.op("DepthToSpace", b, out="y", blocksize=3, mode=mode)
    result = check(m.save(tmp_path / "net.onnx", y), target)
    assert not any(gap.op == "fallback" for gap in result.layers)


def test_rows_taken_in_any_order_are_exact(tmp_path: Path, target: profile.TargetProfile) -> None:
    m = QdqModel(seed=14)
    x = m.q(m.input("x", 2, 6, 5, 7), scale=0.02, zero=11)
    a = m.q(m.conv(x, 6, 6, 3, 3, out="a", pads=[1, 1, 1, 1]), 0.41, -3)
    mirrored = m.op("Gather", a, m.const([2, 1, 0, 1, 2, -1], "int64"), out="mirrored", axis=3)
    square = m.op("Gather", mirrored, m.const([[5, 0], [0, 3]], "int64"), out="square", axis=1)
    y = m.q(m.conv(mirrored, 4, 6, 3, 3, out="y"), 4.0, -3)
    result = check(m.save(tmp_path / "net.onnx", y, square), target)
    assert not any(gap.op == "fallback" for gap in result.layers)
