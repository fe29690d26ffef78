"""Operations of 16-bit codes that are no products, bit by bit, on every micro-kernel."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.binary import BinaryKernel, factors
from edgekiln.compiler.kernels.convert import DequantizeKernel, QuantizeKernel
from edgekiln.compiler.kernels.copy import CopyKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.epilogue.scales import ratio
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.pool import AveragePoolKernel, MaxPoolKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import Array, Codes, microkernel, run
from tests.compiler.kernels.words import TYPES, everywhere, few, of, words


@st.composite
def images(draw: Any) -> tuple[int, tuple[int, int, int, int], tuple[int, int]]:
    """A seed, a shape, and the borders of what is read and of the result."""
    shape = tuple(draw(st.integers(1, most)) for most in (2, 70, 6, 9))
    return draw(st.integers(0, 2**16)), shape, (draw(st.integers(0, 3)), draw(st.integers(0, 3)))  # type: ignore[return-value]


def image(
    rng: np.random.Generator, shape: tuple[int, int, int, int], border: int, dtype: str = "int16"
) -> Codes:
    n, c, h, w = shape
    low, high = harness.bounds(dtype)
    scale = rng.uniform(0.2, 3.0) / (high - low)
    tensor = Nhwc(
        n=n, h=h, w=w, c=c, dtype=dtype, scale=float(np.float32(scale)),
        zero_point=int(rng.integers(low // 2, high // 2)), halo=harness.halo(border, 0, 0, 0, 0),
    )  # fmt: skip
    return Codes(tensor, rng.integers(low, high + 1, shape).astype(dtype))


def real(x: Codes) -> Array:
    """DequantizeLinear's floats."""
    centred = (x.values.astype(np.int32) - x.tensor.zero_point).astype(np.float32)
    result: Array = centred * np.float32(x.tensor.scale)
    return result


def quantized(values: Array, y: Nhwc, clip: tuple[int, int] | None = None) -> Codes:
    """QuantizeLinear's codes."""
    bounds = harness.bounds(y.dtype)
    steps = np.clip(np.rint(values / np.float32(y.scale)) + y.zero_point, *bounds)
    return Codes(y, np.clip(steps, *(clip or bounds)).astype(y.dtype))


@everywhere
@pytest.mark.parametrize("kind", ["Add", "Mul", "Div", "Max", "Min", "PRelu"])
@given(images(), st.sampled_from(["same", "channel", "one"]), TYPES)
@few
def test_sums_and_products_are_those_of_dequantized_values(
    name: str, kind: str, case: Any, other: str, dtype: str
) -> None:
    mk, activation = words(name)
    seed, (n, c, h, w), (of_x, of_y) = case
    rng = np.random.default_rng(seed)
    a = image(rng, (n, c, h, w), of_x)
    shape = {"same": (n, c, h, w), "channel": (n, c, 1, 1), "one": (1, 1, 1, 1)}[other]
    b = image(rng, shape, 0)
    y = image(rng, (n, c, h, w), of_y, of(dtype, activation)).tensor
    compute = {
        "Add": np.add, "Mul": np.multiply, "Div": np.divide, "Max": np.maximum, "Min": np.minimum,
        "PRelu": lambda x, slope: np.where(x > 0, x, x * slope),
    }[kind]  # fmt: skip
    if kind == "Div":  # by nothing that is 0
        b.values[b.values == b.tensor.zero_point] += 1
    wanted = quantized(compute(real(a), real(b)), y)
    finish = RequantizeFinish(
        mult=factors(kind, a.tensor, b.tensor, y), clip=harness.bounds(y.dtype)
    )
    kernel = BinaryKernel(kind=kind, a=a.tensor, b=b.tensor, y=y, finish=finish)
    memory = run(built(kernel, mk), name, [a.memory(), b.memory()], y)
    harness.assert_codes(memory, wanted)


@everywhere
@given(images(), st.sampled_from(["int16", "bytes"]), st.sampled_from(["int16", "bytes"]))
@few
def test_codes_of_one_type_become_those_of_another(
    name: str, case: Any, source: str, dtype: str
) -> None:
    mk = microkernel(name)
    activation = mk.activation
    seed, shape, (of_x, of_y) = case
    rng = np.random.default_rng(seed)
    x = image(rng, shape, of_x, of(source, activation))
    y = image(rng, shape, of_y, of(dtype, activation)).tensor
    memory_order = [0, 2, 3, 1]

    def strides(t: Nhwc) -> tuple[int, ...]:
        return (t.image, t.row, t.pixel, 1)

    kernel = CopyKernel(
        shape=tuple(shape[axis] for axis in memory_order), x=x.tensor, y=y,
        x_strides=strides(x.tensor), y_strides=strides(y),
        x_offset=x.tensor.index(0, 0, 0, 0), y_offset=y.index(0, 0, 0, 0),
        clip=harness.bounds(y.dtype),
    )  # fmt: skip
    centred = (x.values.astype(np.int32) - x.tensor.zero_point).astype(np.float32)
    steps = centred * ratio(x.tensor.scale, y.scale)
    memory = run(built(kernel, mk), name, [x.memory()], y)
    harness.assert_codes(memory, Codes(y, harness.requantized(steps, y, harness.bounds(y.dtype))))


@everywhere
@given(images())
@few
def test_floats_become_codes_and_codes_floats(name: str, case: Any) -> None:
    seed, shape, (border, _) = case
    rng = np.random.default_rng(seed)
    x = image(rng, shape, border)
    n, c, h, w = shape
    floats = Nhwc(n=n, h=h, w=w, c=c, dtype="float32", halo=x.tensor.halo)
    values = (rng.standard_normal(shape) * 20000 * x.tensor.scale).astype(np.float32)
    values.reshape(-1)[:2] = (np.inf, -np.inf)[: values.size]
    given = Codes(floats, values)
    memory = run(
        built(QuantizeKernel(x=floats, y=x.tensor), microkernel(name)),
        name,
        [given.memory()],
        x.tensor,
    )
    harness.assert_codes(memory, quantized(values, x.tensor))
    memory = run(
        built(DequantizeKernel(x=x.tensor, y=floats), microkernel(name)), name, [x.memory()], floats
    )
    harness.assert_codes(memory, Codes(floats, real(x)))


@everywhere
@given(images(), st.sampled_from([(2, 2), (3, 2), (1, 3)]))
@few
def test_pools_keep_codes_or_round_their_mean(
    name: str, case: Any, kernel: tuple[int, int]
) -> None:
    mk, _ = words(name)
    seed, (n, c, h, w), (of_x, of_y) = case
    rng = np.random.default_rng(seed)
    x = image(rng, (n, c, h + kernel[0], w + kernel[1]), of_x)
    size = (h + kernel[0] - kernel[0] + 1, w + kernel[1] - kernel[1] + 1)
    windows = np.lib.stride_tricks.sliding_window_view(x.values, kernel, axis=(2, 3))
    y = replace(x.tensor, h=size[0], w=size[1], halo=harness.halo(of_y, 0, 0, 0, 0))
    largest = MaxPoolKernel(x=x.tensor, y=y, kernel=kernel, strides=(1, 1))
    memory = run(built(largest, microkernel(name)), name, [x.memory()], y)
    harness.assert_codes(memory, Codes(y, windows.max(axis=(4, 5))))
    z = replace(y, scale=float(np.float32(y.scale * 0.8)), zero_point=11)
    counts = np.full(size, kernel[0] * kernel[1])
    bounds = harness.bounds("int16")
    average = AveragePoolKernel(
        x=x.tensor, y=z, kernel=kernel, strides=(1, 1), counts=counts, clip=bounds
    )
    sums = windows.astype(np.int64).sum(axis=(4, 5)) - counts[0, 0] * x.tensor.zero_point
    factor = np.float32(x.tensor.scale) / (np.float32(z.scale) * np.float32(counts[0, 0]))
    memory = run(built(average, mk), name, [x.memory()], z)
    steps = sums.astype(np.float32) * factor
    harness.assert_codes(memory, Codes(z, harness.requantized(steps, z, bounds)))
