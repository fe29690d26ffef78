"""Casts, comparisons, logic and choices of operands that are broadcast, against numpy."""

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.ir.element_ops import ElementFunction
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.tensor import dense_strides
from edgekiln.compiler.kernels.elements import ElementsKernel, Spread, merged
from tests.compiler.kernels.harness import Array, floats_everywhere, microkernel, quick, run

few = settings(quick, max_examples=3)
OF_TWO: dict[ElementFunction, Any] = {
    "Equal": np.equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal,
    "Less": np.less, "LessOrEqual": np.less_equal, "And": np.logical_and, "Or": np.logical_or,
    "Xor": np.logical_xor,
}  # fmt: skip
LOGIC = ("And", "Or", "Xor")
SHAPES = st.lists(st.sampled_from([1, 2, 3, 8, 17]), min_size=1, max_size=4).map(tuple)


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    found: Array = rng.integers(0, 2 if dtype == "bool" else 5, shape).astype(dtype)
    if dtype == "float32":
        found[rng.random(shape) < 0.1] = np.nan
    return found


def part(data: st.DataObject, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What is broadcast to a shape."""
    kept = data.draw(st.tuples(*[st.booleans()] * len(shape)))
    return tuple(n if keep else 1 for n, keep in zip(shape, kept, strict=True))


def outcome(
    name: str, function: ElementFunction, shape: tuple[int, ...], dtype: str, *xs: Array
) -> Array:
    steps = [
        tuple(
            0 if n == 1 else step for n, step in zip(x.shape, dense_strides(x.shape), strict=True)
        )
        for x in xs
    ]
    axes, strides = merged(shape, steps)
    read = tuple(
        Spread(dtype=x.dtype.name, elements=x.size, strides=own)
        for x, own in zip(xs, strides, strict=True)
    )
    kernel = ElementsKernel(function=function, shape=axes, xs=read, dtype=dtype)
    stored = "uint8" if dtype == "bool" else dtype
    out = Nhwc(n=1, h=1, w=1, c=prod(shape), dtype=stored)
    memory = [x.reshape(-1).view("uint8") if x.dtype == bool else x.reshape(-1) for x in xs]
    return run(kernel.build(microkernel(name)), name, memory, out).reshape(shape).astype(dtype)


@floats_everywhere
@pytest.mark.parametrize("function", OF_TWO)
@given(shape=SHAPES, data=st.data())
@few
def test_of_two(
    name: str, function: ElementFunction, shape: tuple[int, ...], data: st.DataObject
) -> None:
    rng = np.random.default_rng(sum(shape))
    dtype = "bool"
    if function not in LOGIC:
        dtype = data.draw(st.sampled_from(["float32", "int32", "int64"]))
    a, b = (values(rng, part(data, shape), dtype) for _ in range(2))
    expected = np.broadcast_to(OF_TWO[function](a, b), shape)
    np.testing.assert_array_equal(outcome(name, function, shape, "bool", a, b), expected)


@floats_everywhere
@given(shape=SHAPES, data=st.data(), dtype=st.sampled_from(["float32", "int32", "int64", "bool"]))
@few
def test_where(name: str, shape: tuple[int, ...], data: st.DataObject, dtype: str) -> None:
    rng = np.random.default_rng(sum(shape))
    condition = values(rng, part(data, shape), "bool")
    a, b = (values(rng, part(data, shape), dtype) for _ in range(2))
    expected = np.broadcast_to(np.where(condition, a, b), shape)
    np.testing.assert_array_equal(outcome(name, "Where", shape, dtype, condition, a, b), expected)


@floats_everywhere
@pytest.mark.parametrize("to", ["float32", "int32", "int64", "bool"])
@given(count=st.integers(1, 70), source=st.sampled_from(["float32", "int32", "int64", "bool"]))
@few
def test_cast(name: str, count: int, source: str, to: str) -> None:
    x: Array = np.random.default_rng(count).normal(0, 3, count).astype("float32")
    x[x < -2] = 0
    x[x > 2] *= 1e5
    x = x.astype(source)
    np.testing.assert_array_equal(outcome(name, "Cast", (count,), to, x), x.astype(to))
