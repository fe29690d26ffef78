"""The program's edge agrees with ONNX Runtime; copies put every element where the strides say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Halo, Nhwc, Planes
from edgekiln.compiler.kernels.convert import DequantizeKernel, QuantizeKernel
from edgekiln.compiler.kernels.copy import CopyKernel
from edgekiln.compiler.kernels.gpu.table import built
from tests.compiler.kernels import harness
from tests.compiler.kernels.floats import Floats
from tests.compiler.kernels.harness import Array, Codes, everywhere, microkernel, quick, run
from tests.compiler.kernels.test_elementwise import SEEDS, SHAPES, random_codes

# A float divided by it lies nearly half way between 45.5 and the next float.
ODD = float.fromhex("0x1.c8000ap-5")
# How the floats lie: in ONNX's order, or in that of the codes, with a border of their own.
LAYOUTS = st.sampled_from(["planes", "pixels", "bordered pixels"])


def floats_like(shape: tuple[int, ...], layout: str) -> Nhwc | Planes:
    n, c, h, w = shape
    if layout == "planes":
        return Planes(n=n, h=h, w=w, c=c)
    halo = harness.halo(3, 1, 0, 0, 1) if layout == "bordered pixels" else Halo()
    return Nhwc(n=n, h=h, w=w, c=c, dtype="float32", halo=halo)


def as_stored(values: Array, floats: Nhwc | Planes) -> Array:
    if isinstance(floats, Nhwc):
        return Floats(floats, values).memory().reshape(-1)
    return values.reshape(-1)


@everywhere
@given(SHAPES, SEEDS, LAYOUTS)
@quick
def test_quantize_agrees_with_onnx_runtime(
    name: str, shape: tuple[int, ...], seed: int, layout: str
) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    y = random_codes(rng, shape, mk.activation, rng.uniform(0.001, 0.1), seed % 4).tensor
    # Far beyond both ends, and exact halves, where rounding directions differ.
    steps = rng.uniform(-300, 300, shape)
    halves = rng.random(shape) < 0.3
    values = (np.where(halves, np.round(steps) + 0.5, steps) * y.scale).astype(np.float32)
    x = floats_like(shape, layout)
    memory = run(built(QuantizeKernel(x=x, y=y), mk), name, [as_stored(values, x)], y)
    expected = harness.ort(
        "QuantizeLinear",
        {"x": values, "scale": np.float32(y.scale), "zero": np.array(y.zero_point, y.dtype)},
    )
    harness.assert_codes(memory, Codes(y, expected))


def around(places: Array, count: int = 3) -> Array:
    """The float32 numbers nearest to `places`, none of them 0, and `count` on either side."""
    nearest = places.astype(np.float32).view(np.int32)
    return np.concatenate([nearest + step for step in range(-count, count + 1)]).view(np.float32)


@everywhere
@given(st.floats(2.0**-99, 2.0**99, width=32) | st.floats(2.0**-10, 2.0**-3, width=32), SEEDS)
@quick
def test_codes_change_where_those_of_quotients_do(name: str, scale: float, seed: int) -> None:
    check_changes(name, scale, seed)


@everywhere
@pytest.mark.parametrize("scale", [ODD, 2.0**-120, 2.0**100, 1.0])
def test_scales_whose_reciprocal_does_not_serve(name: str, scale: float) -> None:
    assert quantizer(name, scale, 4, 9).rounding.by_reciprocal == (scale == 1.0)
    check_changes(name, scale, 1)


def quantizer(name: str, scale: float, count: int, zero: int) -> QuantizeKernel:
    tensor = Nhwc(
        n=1, h=1, w=1, c=count, dtype=microkernel(name).activation, scale=scale, zero_point=zero
    )
    return QuantizeKernel(x=replace(tensor, dtype="float32"), y=tensor)


def check_changes(name: str, scale: float, seed: int) -> None:
    """At every place where the code changes, and the floats next to it."""
    low, high = harness.bounds(microkernel(name).activation)
    zero = int(np.random.default_rng(seed).integers(low, high + 1))
    x = around((np.arange(low - zero - 1, high - zero + 1) + 0.5) * scale)
    kernel = quantizer(name, scale, len(x), zero)
    memory = run(built(kernel, microkernel(name)), name, [x], kernel.y)
    np.testing.assert_array_equal(
        memory, harness.requantized(x / np.float32(scale), kernel.y, (low, high))
    )


@everywhere
@pytest.mark.parametrize("scale", [0.5, 0.7, ODD])
@pytest.mark.parametrize("count", [1, 7, 32])
def test_infinities_saturate_and_nan_becomes_the_lowest_code(
    name: str, count: int, scale: float
) -> None:
    mk = microkernel(name)
    low, high = harness.bounds(mk.activation)
    x = np.array([np.inf, -np.inf, np.nan, 3e38, -3e38] * count, np.float32)
    kernel = quantizer(name, float(np.float32(scale)), len(x), low + 9)
    memory = run(built(kernel, mk), name, [x], kernel.y)
    assert memory.tolist() == [high, low, low, high, low] * count


@everywhere
@given(SHAPES, SEEDS, LAYOUTS)
@quick
def test_dequantize_agrees_with_onnx_runtime(
    name: str, shape: tuple[int, ...], seed: int, layout: str
) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    x = random_codes(rng, shape, mk.activation, rng.uniform(0.001, 0.1), seed % 4)
    out = floats_like(shape, layout)
    memory = run(built(DequantizeKernel(x=x.tensor, y=out), mk), name, [x.memory()], out)
    zero = np.array(x.tensor.zero_point, x.tensor.dtype)
    expected = harness.ort(
        "DequantizeLinear",
        {"x": x.values, "scale": np.float32(x.tensor.scale), "zero": zero},
    )
    np.testing.assert_array_equal(memory, as_stored(expected, out))


@everywhere
@given(SHAPES, SEEDS, st.sampled_from(["equal", "other", "shift"]), st.booleans())
@quick
def test_copies_requantize_and_fill_the_border(
    name: str, shape: tuple[int, ...], seed: int, quantization: str, clipped: bool
) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    x = random_codes(rng, shape, mk.activation, 0.05, seed % 4)
    y = random_codes(rng, shape, mk.activation, 0.0371, (seed // 4) % 4).tensor
    if quantization != "other":
        zero = x.tensor.zero_point if quantization == "equal" else y.zero_point
        y = Nhwc(**vars(y) | {"scale": x.tensor.scale, "zero_point": zero})
    low, high = harness.bounds(y.dtype)
    clip = (low + 30, high - 17) if clipped else (low, high)
    n, c, h, w = shape
    strides = [(t.image, t.row, t.c, 1) for t in (x.tensor, y)]
    kernel = built(CopyKernel(
        shape=(n, h, w, c), x=x.tensor, y=y, x_strides=strides[0], y_strides=strides[1],
        x_offset=x.tensor.index(0, 0, 0, 0), y_offset=y.index(0, 0, 0, 0),
        clip=clip if clipped else None,
    ), mk)  # fmt: skip
    memory = run(kernel, name, [x.memory()], y)
    centred = (x.values.astype(np.int32) - x.tensor.zero_point).astype(np.float32)
    factor = np.float32(x.tensor.scale / y.scale)
    harness.assert_codes(memory, Codes(y, harness.requantized(centred * factor, y, clip)))


@everywhere
def test_a_transposition_into_a_slice_leaves_the_rest_filled(name: str) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(0)
    x = random_codes(rng, (1, 5, 3, 7), mk.activation, 0.05, 0)
    zero = x.tensor.zero_point
    y = Nhwc(
        n=1, h=7, w=5, c=5, dtype=mk.activation, scale=x.tensor.scale, zero_point=zero,
    )  # fmt: skip
    # (n, w, h, c), two columns from the left.
    kernel = built(CopyKernel(
        shape=(7, 3, 5), x=x.tensor, y=y, x_strides=(5, 35, 1), y_strides=(25, 5, 1),
        y_offset=10, fill=zero,
    ), mk)  # fmt: skip
    memory = run(kernel, name, [x.memory()], y)
    expected = np.full((7, 5, 5), zero, y.dtype)
    expected[:, 2:5] = x.values[0].transpose(2, 1, 0)
    np.testing.assert_array_equal(memory.reshape(7, 5, 5), expected)


@everywhere
@pytest.mark.parametrize(("channels", "width"), [(3, 23), (2, 5), (4, 16), (1, 7)])
def test_planes_become_pixels_with_a_border(name: str, channels: int, width: int) -> None:
    mk = microkernel(name)
    shape = (2, channels, 3, width)
    values = np.random.default_rng(width).normal(size=shape).astype(np.float32)
    x = Nhwc(n=1, h=1, w=1, c=values.size, dtype="float32")
    y = Nhwc(
        n=2, h=3, w=width, c=channels, dtype="float32", halo=harness.halo(3, 1, 0, 0, 1)
    )  # fmt: skip
    n, c, h, w = (int(np.prod(shape[axis + 1 :])) for axis in range(4))
    kernel = built(CopyKernel(
        shape=(2, 3, width, channels), x=x, y=y, x_strides=(n, h, w, c),
        y_strides=(y.image, y.row, y.c, 1), y_offset=y.index(0, 0, 0, 0),
    ), mk)  # fmt: skip
    memory = run(kernel, name, [values.reshape(-1)], y)
    np.testing.assert_array_equal(memory, Floats(y, values).memory())
