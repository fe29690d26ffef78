"""Dynamic quantization, kernel by kernel, has ONNX Runtime's bits on every micro-kernel."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.epilogue.finish import SumsFinish
from edgekiln.compiler.kernels.finish_sums import (
    ColumnSumsKernel,
    FinishSumsKernel,
    Operand,
    Scaling,
)
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.matmul.kernel import MatMulKernel
from edgekiln.compiler.kernels.ranged_codes import BorderKernel, RangedQuantizeKernel
from edgekiln.compiler.kernels.ranges import ExtremesKernel, RangeKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.harness import Array, everywhere, microkernel, quick, run
from tests.compiler.kernels.test_matmul import multiplied, stacked

SEEDS = st.integers(0, 2**16)
SIZES = st.sampled_from([1, 3, 5, 16, 17, 31, 64, 65, 200])
# Whole tensors of these: what has no width, no room for a scale, or no end.
STRANGE = {
    "zeros": [0.0, -0.0],
    "above": [0.5, 3.0],
    "below": [-7.0, -1e-3],
    "denormal": [1e-45, -3e-45],
    "too narrow for a scale": [0.0, 1e-44],
    "wide": [3.4e38, -3.4e38],
    "infinite": [float("inf"), 1.0],
    "infinite below": [float("-inf"), 1.0],
}


def dynamically_quantized(x: Array) -> list[Array]:
    """Codes, scale and zero point by ONNX Runtime."""
    graph = helper.make_graph(
        [helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])],
        "one",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_empty_tensor_value_info(name) for name in ("y", "scale", "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"x": x}))


def floats(count: int) -> Nhwc:
    return Nhwc(n=1, h=1, w=1, c=count, dtype="float32")


def range_of(name: str, x: Array) -> Array:
    """Scale and zero point by our kernels, x as (n, h, w, c)."""
    mk = microkernel(name)
    n, h, w, c = x.shape
    extremes = ExtremesKernel(x=Nhwc(n=n, h=h, w=w, c=c, dtype="float32"))
    pairs = run(extremes.build(mk), name, [x.reshape(-1)], floats(2 * extremes.rows))
    return run(RangeKernel(rows=extremes.rows).build(mk), name, [pairs], floats(2))


def check_quantized(name: str, x: Array) -> None:
    mk = microkernel(name)
    n, h, w, c = x.shape
    codes, scale, zero = dynamically_quantized(x)
    found = range_of(name, x)
    np.testing.assert_array_equal(found, np.array([scale, zero], np.float32))
    shift = 0 if mk.activation == "uint8" else -128
    halo = harness.halo(c % 4, 1, 0, 0, 1)
    y = Nhwc(n=n, h=h, w=w, c=c, dtype=mk.activation, zero_point=shift, halo=halo)
    kernel = RangedQuantizeKernel(x=Nhwc(n=n, h=h, w=w, c=c, dtype="float32"), y=y)
    memory = run(kernel.build(mk), name, [x.reshape(-1), found], y)
    expected = np.full(y.elements, int(zero) + shift, y.dtype)
    harness.interior(y, expected)[...] = codes.astype(np.int16) + shift
    np.testing.assert_array_equal(memory, expected)


@everywhere
@given(SIZES, SEEDS)
@quick
def test_floats_get_onnx_runtimes_range_and_codes(name: str, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.uniform(-3, 3), rng.uniform(0.01, 9), (2, 3, 2, channels))
    check_quantized(name, x.astype(np.float32))


@everywhere
@pytest.mark.parametrize("values", STRANGE)
def test_what_has_no_width_or_no_end_is_onnx_runtimes_too(name: str, values: str) -> None:
    if name == "armv7_neon":
        pytest.skip("its vectors take denormals for 0")
    x = np.resize(np.array(STRANGE[values], np.float32), (1, 2, 3, 9))
    check_quantized(name, x)


@everywhere
def test_nan_has_no_part_in_the_range_and_becomes_the_lowest_code(name: str) -> None:
    mk = microkernel(name)
    x = np.linspace(-1, 3, 54, dtype=np.float32).reshape(1, 2, 3, 9)
    wanted = range_of(name, x)
    x[0, 0, 1], x[0, 1, 2, 4] = np.nan, np.nan
    x[0, 0, 0, 0], x[0, 1, 2, 8] = -1, 3
    found = range_of(name, x)
    np.testing.assert_array_equal(found, wanted)
    low = harness.bounds(mk.activation)[0]
    y = Nhwc(n=1, h=2, w=3, c=9, dtype=mk.activation, zero_point=low)
    kernel = RangedQuantizeKernel(x=Nhwc(n=1, h=2, w=3, c=9, dtype="float32"), y=y)
    memory = run(kernel.build(mk), name, [x.reshape(-1), found], y)
    assert (memory.reshape(x.shape)[np.isnan(x)] == low).all()


def kept_sums(p: Problem, y: Nhwc, *, depthwise: bool = False) -> Any:
    finish: Any = {"y": y, "finish": SumsFinish()}
    if depthwise:
        return DepthwiseKernel(**finish, **p.attributes())
    return ConvolutionKernel(**finish, groups=p.case.groups, **p.attributes())


@everywhere
@given(cases())
@quick
def test_a_convolution_keeps_its_sums(name: str, case: Case) -> None:
    check_sums(name, case, depthwise=False)


@everywhere
@given(cases(depthwise=True))
@quick
def test_a_depthwise_convolution_keeps_its_sums(name: str, case: Case) -> None:
    check_sums(name, case, depthwise=True)


def check_sums(name: str, case: Case, *, depthwise: bool) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    n, c, h, w = p.oracle_shape
    y = Nhwc(n=n, h=h, w=w, c=c, dtype="int32")
    kernel = built(kept_sums(p, y, depthwise=depthwise), mk)
    memory = run(kernel, name, [p.x.memory()], y, case.pieces)
    np.testing.assert_array_equal(memory, p.sums().transpose(0, 2, 3, 1).reshape(-1))


@everywhere
@given(st.tuples(SIZES, SIZES, SIZES), SEEDS)
@quick
def test_a_product_keeps_its_sums(name: str, size: tuple[int, int, int], seed: int) -> None:
    mk, rng, (m, k, n) = microkernel(name), np.random.default_rng(seed), size
    low, high = harness.bounds(mk.activation)
    a: Any = rng.integers(low, high + 1, (m, k)).astype(mk.activation)
    b: Any = rng.integers(low, high + 1, (k, n)).astype(mk.activation)
    shift = 0 if mk.activation == "uint8" else -128
    product = MatMulKernel(
        batch=(), m=m, k=k, n=n, a=stacked((), m, k, transposed=False),
        b=stacked((), k, n, transposed=False), y=stacked((), m, n, transposed=False),
        result=Nhwc(n=1, h=1, w=1, c=m * n, dtype="int32"), zero_points=(shift, shift),
        finish=SumsFinish(),
    )  # fmt: skip
    sums = multiplied(product, mk, name, a.reshape(-1), b.reshape(-1))
    exact = (a.astype(np.int64) - shift) @ (b.astype(np.int64) - shift)
    np.testing.assert_array_equal(sums, exact.astype(np.int32).reshape(-1))


@everywhere
@given(SIZES, SEEDS, st.booleans(), st.booleans(), st.booleans())
@quick
def test_sums_are_finished_as_the_formula_says(
    name: str, channels: int, seed: int, scaled: bool, each: bool, known: bool
) -> None:
    """`each`: a row sum for each result; `known`: zero points of the right operand are."""
    mk, rng = microkernel(name), np.random.default_rng(seed)
    shape = (2, 2, 3, channels)
    sums = rng.integers(-(2**20), 2**20, shape).astype(np.int32)
    rows = rng.integers(0, 9999, shape if each else (*shape[:3], 1)).astype(np.int32)
    columns = rng.integers(-9999, 9999, channels).astype(np.int32)
    zeros = rng.integers(0, 256, channels).astype(np.uint8)
    zero, scale = int(rng.integers(0, 256)), np.float32(rng.uniform(0.001, 0.1))
    mult, bias = (rng.normal(0, 1, channels).astype(np.float32) for _ in range(2))
    tensor = Nhwc(n=2, h=2, w=3, c=channels, dtype="int32")
    y = Nhwc(
        n=2, h=2, w=3, c=channels, dtype="float32" if scaled else "int32",
        halo=harness.halo(seed % 4, 0, 0, 0, 0),
    )  # fmt: skip
    kernel = FinishSumsKernel(
        sums=tensor, y=y, columns=columns,
        row_sums=Operand(
            elements=rows.size, pixel=channels if each else 1, channel=int(each and channels > 1)
        ),
        shifts=-zeros.astype(np.int32)
        if known
        else Operand(elements=channels, dtype="uint8", channel=int(channels > 1)),
        scaling=Scaling(mult=mult, bias=bias, clip=(-50.0, float("inf"))) if scaled else None,
    )  # fmt: skip
    operands: list[Array] = [
        sums.reshape(-1), np.array([scale, zero], np.float32), rows.reshape(-1),
        *([] if known else [zeros]),
    ]  # fmt: skip
    memory = run(kernel.build(mk), name, operands, y)
    whole = sums - zeros.astype(np.int32) * rows - zero * columns
    expected = np.zeros(y.elements, y.dtype)
    floats_of = np.maximum(whole.astype(np.float32) * (scale * mult) + bias, np.float32(-50))
    harness.interior(y, expected)[...] = floats_of if scaled else whole
    np.testing.assert_array_equal(memory, expected)


@everywhere
@given(SIZES, SIZES, SEEDS, st.booleans())
@quick
def test_columns_are_summed_without_their_zero_points(
    name: str, k: int, n: int, seed: int, known: bool
) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    b: Any = rng.integers(*harness.bounds(mk.activation), (2, k, n)).astype(mk.activation)
    shift = 0 if mk.activation == "uint8" else -128
    zeros = rng.integers(0, 256, n if seed % 2 else 1).astype(np.uint8)
    kernel = ColumnSumsKernel(
        matrices=2, k=k, n=n, dtype=mk.activation, origin=shift,
        zeros=zeros.astype(np.int32) if known else Operand(elements=zeros.size, dtype="uint8"),
    )  # fmt: skip
    y = Nhwc(n=1, h=1, w=1, c=2 * n, dtype="int32")
    memory = run(kernel.build(mk), name, [b.reshape(-1), *([] if known else [zeros])], y)
    exact = (b.astype(np.int64) - shift - zeros).sum(1)
    np.testing.assert_array_equal(memory, exact.astype(np.int32).reshape(-1))


@everywhere
def test_a_border_has_the_zero_point_of_the_range(name: str) -> None:
    mk = microkernel(name)
    x = Nhwc(n=2, h=3, w=2, c=5, dtype=mk.activation)
    y = Nhwc(n=2, h=3, w=2, c=5, dtype=mk.activation, halo=harness.halo(0, 1, 2, 0, 1))
    codes: Any = np.arange(x.elements).astype(mk.activation)
    kernel = BorderKernel(x=x, y=y).build(mk)
    memory = run(kernel, name, [codes, np.array([0.1, 77], np.float32)], y)
    expected = np.full(y.elements, 77, y.dtype)
    harness.interior(y, expected)[...] = codes.reshape(2, 3, 2, 5)
    np.testing.assert_array_equal(memory, expected)
