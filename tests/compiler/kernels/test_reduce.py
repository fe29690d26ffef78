"""Reductions of floats: the bits that their order gives, the same on every chip."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.reduce_ops import Reduction
from edgekiln.compiler.kernels.reduce import PARTIALS, ReduceKernel
from tests.compiler.kernels.harness import (
    Array,
    floats_everywhere,
    microkernel,
    quick,
    run,
)

few = settings(quick, max_examples=4)
COMBINED: dict[Reduction, Any] = {
    "max": np.maximum, "min": np.minimum, "prod": np.multiply, "sum": np.add,
}  # fmt: skip


def row(count: int) -> Nhwc:
    return Nhwc(n=1, h=1, w=1, c=count, dtype="float32")


def reduced(x: Array, reduction: Reduction) -> Array:
    """(outer, extent, inner) → (outer, inner), in the order that the kernel's module states."""
    combine, extent = COMBINED[reduction], x.shape[1]
    if x.shape[2] > 1 or extent < PARTIALS:
        total = x[:, 0]
        for i in range(1, extent):
            total = combine(total, x[:, i])
        return total
    x = x[:, :, 0]
    whole, rest = divmod(extent, PARTIALS)
    partials = x[:, :PARTIALS]
    for i in range(1, whole):
        partials = combine(partials, x[:, i * PARTIALS : (i + 1) * PARTIALS])
    if rest:
        partials = partials.copy()
        partials[:, PARTIALS - rest :] = combine(partials[:, PARTIALS - rest :], x[:, -rest:])
    while partials.shape[1] > 1:
        half = partials.shape[1] // 2
        partials = combine(partials[:, :half], partials[:, half:])
    return partials


def outcome(name: str, x: Array, reduction: Reduction, **functions: Any) -> Array:
    outer, extent, inner = x.shape
    kernel = ReduceKernel(
        outer=outer, extent=extent, inner=inner, reduction=reduction, **functions
    ).build(microkernel(name))
    return run(kernel, name, [x.reshape(-1)], row(outer * inner)).reshape(outer, inner)


@floats_everywhere
@pytest.mark.parametrize("reduction", COMBINED)
@given(
    outer=st.integers(1, 3),
    extent=st.integers(1, 70) | st.sampled_from([128, 200]),
    inner=st.sampled_from([1, 1, 1, 2, 3, 5, 8, 16, 33, 100]),
    special=st.sampled_from([0.0, 0.0, -0.0, np.nan, np.inf, -np.inf]),
)
@few
def test_bits_are_those_of_the_order(
    name: str, reduction: Reduction, outer: int, extent: int, inner: int, special: float
) -> None:
    rng = np.random.default_rng(outer * extent + inner)
    x: Array = rng.normal(size=(outer, extent, inner)).astype(np.float32)
    if reduction == "prod":
        x = np.abs(x) + np.float32(0.3)
    if special or np.signbit(special):
        x[rng.random(x.shape) < (1 / extent if special else 1)] = special
    with np.errstate(all="ignore"):
        expected = reduced(x, reduction)
    found = outcome(name, x, reduction)
    np.testing.assert_array_equal(found, expected)
    if reduction in ("prod", "sum"):
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(expected)[known])


@floats_everywhere
@given(extent=st.integers(1, 40), inner=st.sampled_from([1, 7]))
@few
def test_functions_before_and_after(name: str, extent: int, inner: int) -> None:
    x = np.random.default_rng(extent).normal(size=(2, extent, inner)).astype(np.float32)
    found = outcome(
        name, x, "sum", before=(FunctionStep("Mul", (0, 0)),), after=(FunctionStep("Sqrt", (0,)),)
    )
    np.testing.assert_array_equal(found, np.sqrt(reduced(x * x, "sum")))
