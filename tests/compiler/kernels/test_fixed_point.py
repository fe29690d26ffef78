"""Fixed-point arithmetic of kernels is TFLite's, bit by bit, on every micro-kernel."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.fixed_ops import FixedFunction
from edgekiln.compiler.ir.fixed_point import FixedPoint, Rounding
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.binary import BinaryKernel
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.convert import HalfAwayKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.epilogue.fixed import FixedPointFinish
from edgekiln.compiler.kernels.fixed_arithmetic import FixedArithmetic
from edgekiln.compiler.kernels.fixed_pool import MOST_COUNTED, AwayPoolKernel, FixedMeanKernel
from edgekiln.compiler.kernels.fixed_softmax import FixedSoftmaxKernel
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.onnx_model.tflite import exponentials, fixed_point
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.harness import Codes, everywhere, microkernel, quick, run
from tests.compiler.kernels.test_elementwise import SEEDS, SHAPES, random_codes
from tests.compiler.kernels.test_pool import output_like, patches, windows

ROUNDINGS = st.sampled_from(["twice", "once"])


def factors(p: Problem, rounding: Rounding) -> FixedPoint:
    """Of the case's scales; every third channel's is a power of two, so that sums are ties."""
    reals = p.mult.astype(np.float64)
    reals[::3] = 2.0 ** np.rint(np.log2(reals[::3]))
    if p.case.seed % 2:
        reals[-1:] = 1.5
    pairs = [fixed_point.quantized_multiplier(real) for real in reals]
    integers, shifts = np.array(pairs, np.int32).T
    return FixedPoint(integers=integers.copy(), shifts=shifts.copy(), rounding=rounding)


def scaled(sums: harness.Array, of: FixedPoint) -> harness.Array:
    """The numpy reference, by channels on axis 1."""
    times = fixed_point.rounded_once if of.rounding == "once" else fixed_point.rounded_twice
    integers, shifts = (a.astype(np.int64)[:, None, None] for a in (of.integers, of.shifts))
    return times(sums.astype(np.int64), integers, shifts)


def check(name: str, case: Case, rounding: Rounding, *, depthwise: bool) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    of = factors(p, rounding)
    finish = FixedPointFinish(factors=of, clip=p.clip)
    kernel = (
        DepthwiseKernel(y=p.y.tensor, finish=finish, **p.attributes())
        if depthwise
        else ConvolutionKernel(y=p.y.tensor, finish=finish, groups=case.groups, **p.attributes())
    )
    memory = run(built(kernel, mk), name, [p.x.memory()], p.y.tensor, case.pieces)
    codes = np.clip(scaled(p.sums(), of) + p.y.tensor.zero_point, *p.clip)
    harness.assert_codes(memory, Codes(p.y.tensor, codes.astype(mk.activation)))


@everywhere
@given(cases(), ROUNDINGS)
@quick
def test_a_convolution_rounds_its_sums_as_tflite_does(
    name: str, case: Case, rounding: Rounding
) -> None:
    check(name, case, rounding, depthwise=False)


@everywhere
@given(cases(depthwise=True), ROUNDINGS)
@quick
def test_a_depthwise_convolution_rounds_its_sums_as_tflite_does(
    name: str, case: Case, rounding: Rounding
) -> None:
    check(name, case, rounding, depthwise=True)


def fixed(*reals: float) -> FixedPoint:
    """Several factors by their real values."""
    integers, shifts = np.array([fixed_point.quantized_multiplier(r) for r in reals], np.int32).T
    return FixedPoint(integers=integers.copy(), shifts=shifts.copy())


def times(x: harness.Array, of: FixedPoint, index: int = 0) -> harness.Array:
    return fixed_point.rounded_twice(
        x.astype(np.int64), np.int64(of.integers[index]), np.int64(of.shifts[index])
    )


def arithmetic(function: str, of: FixedPoint, a: harness.Array, b: harness.Array) -> harness.Array:
    """Steps of the result, by numpy."""
    if function == "mul":
        return times(a * b, of)
    if function == "prelu":
        return np.where(a < 0, times(a * b, of, 1), times(a, of))
    a, b = times(a << 20, of), times(b << 20, of, 1)
    return times({"add": a + b, "sub": a - b, "from": b - a}[function], of, 2)


@everywhere
@given(
    SHAPES, SEEDS, st.sampled_from(["add", "sub", "from", "mul", "prelu"]),
    st.sampled_from(["same", "channel", "one"]),
)  # fmt: skip
@quick
def test_two_tensors_meet_as_in_tflite(
    name: str, shape: tuple[int, ...], seed: int, function: FixedFunction, spread: str
) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    c = shape[1]
    small = {"same": shape, "channel": (1, c, 1, 1), "one": (1, 1, 1, 1)}[spread]
    a, b = (random_codes(rng, each, mk.activation, 0.1, 0) for each in (shape, small))
    y = random_codes(rng, shape, mk.activation, 0.1, int(rng.integers(0, 4))).tensor
    reals = (0.5, float(rng.uniform(0.01, 0.5)), 2.0 / 2**20 * float(rng.choice([1.0, 0.3])))
    of = {"mul": fixed(2.0**-6), "prelu": fixed(1.3, 2.0**-5)}.get(function, fixed(*reals))
    low, high = sorted(int(v) for v in rng.integers(*harness.bounds(mk.activation), 2))
    finish = FixedArithmetic(function=function, factors=of, clip=(low, high))
    kernel = BinaryKernel(kind=function, a=a.tensor, b=b.tensor, y=y, finish=finish)
    memory = run(built(kernel, mk), name, [a.memory(), b.memory()], y)
    left, right = (t.values.astype(np.int64) - t.tensor.zero_point for t in (a, b))
    codes = np.clip(arithmetic(function, of, left, right) + y.zero_point, low, high)
    harness.assert_codes(memory, Codes(y, codes.astype(mk.activation)))


@everywhere
@given(windows(dilated=False))
@quick
def test_an_average_of_codes_goes_half_away_from_zero(name: str, window: dict[str, Any]) -> None:
    mk, rng = microkernel(name), np.random.default_rng(window["seed"])
    origin = 128 if mk.activation == "uint8" else 0
    x = random_codes(rng, window["shape"], mk.activation, 0.1, 3)
    pads = window["pads"]
    x = Codes(replace(x.tensor, halo=harness.halo(window["seed"] % 4, *pads)), x.values)
    y = output_like(x, window, x.tensor.scale, x.tensor.zero_point)
    outside = -1000
    codes = patches(x, window, y, outside)
    inside = codes != outside
    counts = inside[0, 0].sum(-1)
    if not counts.all():
        return  # a window without a single tap inside: TFLite says nothing about it
    total = np.where(inside, codes - origin, 0).sum(-1)
    expected = np.sign(total) * ((np.abs(total) + counts // 2) // counts) + origin
    kernel = AwayPoolKernel(
        x=x.tensor, y=y, kernel=window["kernel"], strides=window["strides"], counts=counts,
        pads=pads[:2], clip=harness.bounds(mk.activation), origin=origin,
    )  # fmt: skip
    memory = run(built(kernel, mk), name, [x.memory()], y)
    harness.assert_codes(memory, Codes(y, expected.astype(mk.activation)))


def test_averages_of_all_sums_are_exact() -> None:
    """The arithmetic of the kernel, in numpy, for every sum of some counts up to the largest."""
    for count in (1, 2, 3, 6, 7, 49, 81, 1000, 3969, MOST_COUNTED):
        sums = np.arange(-128 * count, 127 * count + 1)
        size = np.abs(sums).astype(np.float32) + np.float32(count // 2 + 0.5)
        whole = np.rint(size * (np.float32(1) / np.float32(count)) - np.float32(0.5))
        np.testing.assert_array_equal(whole, (np.abs(sums) + count // 2) // count)


@everywhere
@given(SHAPES, SEEDS)
@quick
def test_a_mean_has_one_factor(name: str, shape: tuple[int, ...], seed: int) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    x = random_codes(rng, shape, mk.activation, 0.1, int(rng.integers(0, 4)))
    n, c, h, w = shape
    y = random_codes(rng, (n, c, 1, 1), mk.activation, 0.1, 0).tensor
    of = fixed(float(rng.choice([1.0, 0.7])) / (h * w))
    clip = harness.bounds(mk.activation)
    kernel = FixedMeanKernel(
        x=x.tensor, y=y, kernel=(h, w), strides=(1, 1), counts=np.ones((1, 1), np.int64),
        clip=clip, factor=of,
    )  # fmt: skip
    memory = run(built(kernel, mk), name, [x.memory()], y)
    sums = (x.values.astype(np.int64) - x.tensor.zero_point).sum((2, 3), keepdims=True)
    codes = np.clip(times(sums, of) + y.zero_point, *clip)
    harness.assert_codes(memory, Codes(y, codes.astype(mk.activation)))


@everywhere
@given(SEEDS, st.sampled_from([2, 3, 10, 100, 1000]), st.sampled_from([0.5, 0.05, 0.004]))
@quick
def test_softmax_is_gemmlowps(name: str, seed: int, count: int, scale: float) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    x = random_codes(rng, (1, count, 1, 3), mk.activation, scale, 0)
    origin, _ = harness.bounds(mk.activation)
    y = replace(x.tensor, scale=1 / 256, zero_point=origin)
    powers = exponentials.powers(scale)
    kernel = FixedSoftmaxKernel(x=x.tensor, y=y, count=count, powers=powers, lowest=origin)
    memory = run(built(kernel, mk), name, [x.memory()], y)
    rows = x.values.transpose(0, 2, 3, 1).reshape(-1, count).astype(np.int64)
    expected = exponentials.softmax(rows, powers) + origin
    np.testing.assert_array_equal(memory.reshape(-1, count), expected)


@everywhere
@given(SEEDS, st.sampled_from([0.25, 0.1, 0.0039]))
@quick
def test_floats_between_two_codes_go_away_from_zero(name: str, seed: int, scale: float) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    low, high = harness.bounds(mk.activation)
    y = Nhwc(
        n=1, h=3, w=50, c=1, dtype=mk.activation, scale=float(np.float32(scale)),
        zero_point=int(rng.integers(low, high + 1)),
    )  # fmt: skip
    x = np.where(
        rng.random(150) < 0.5, (rng.integers(-300, 300, 150) + 0.5) * np.float32(scale),
        rng.normal(0, scale * 80, 150),
    ).astype(np.float32)  # fmt: skip
    kernel = HalfAwayKernel(x=Nhwc(n=1, h=3, w=50, c=1, dtype="float32"), y=y)
    memory = run(built(kernel, mk), name, [x], y)
    steps = (x / np.float32(scale)).astype(np.float64)
    codes = np.sign(steps) * np.floor(np.abs(steps) + 0.5) + y.zero_point
    np.testing.assert_array_equal(memory, codes.clip(low, high).astype(mk.activation))
