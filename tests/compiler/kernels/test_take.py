"""Rows are taken by numbers of the call, and by no number is other memory read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.take import TakeKernel
from tests.compiler.kernels.harness import everywhere, floats_here, microkernel, quick, run

SIZES = (
    st.integers(1, 3), st.integers(1, 40), st.sampled_from([1, 3, 16, 33, 64, 100]),
    st.integers(1, 9), st.sampled_from(["int32", "int64"]), st.integers(0, 2**16),
)  # fmt: skip


def taken(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """What ONNX's Gather takes; outside of its range the nearest row."""
    rows = x.shape[1]
    return x[:, np.clip(np.where(index < 0, index + rows, index), 0, rows - 1)]


def kernel(x: np.ndarray, index: np.ndarray) -> TakeKernel:
    outer, rows, inner = x.shape
    return TakeKernel(
        outer=outer, rows=rows, inner=inner, count=len(index), dtype=x.dtype.name,
        index=index.dtype.name,
    )  # fmt: skip


@everywhere
@given(*SIZES)
@quick
def test_rows_of_codes_are_taken(
    name: str, outer: int, rows: int, inner: int, count: int, dtype: str, seed: int
) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    x = rng.integers(0, 127, (outer, rows, inner)).astype(mk.activation)
    index = rng.integers(-2 * rows, 2 * rows, count).astype(dtype)
    y = Nhwc(n=outer, h=count, w=1, c=inner, dtype=mk.activation, scale=1.0, zero_point=0)
    found = run(built(kernel(x, index), mk), name, [x.reshape(-1), index], y)
    np.testing.assert_array_equal(found.reshape(outer, count, inner), taken(x, index))


@floats_here
@given(*SIZES)
@quick
def test_rows_of_floats_are_taken(
    name: str, outer: int, rows: int, inner: int, count: int, dtype: str, seed: int
) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    x = rng.normal(size=(outer, rows, inner)).astype(np.float32)
    index = rng.integers(-2 * rows, 2 * rows, count).astype(dtype)
    y = Nhwc(n=outer, h=count, w=1, c=inner, dtype="float32")
    found = run(built(kernel(x, index), mk), name, [x.reshape(-1), index], y)
    np.testing.assert_array_equal(found.reshape(outer, count, inner), taken(x, index))


@pytest.mark.parametrize("far", [2**40, -(2**40), 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)])
def test_a_number_far_outside_takes_the_nearest_row(far: int) -> None:
    mk = microkernel("generic_u8")
    x = np.arange(12, dtype=np.uint8).reshape(1, 4, 3)
    y = Nhwc(n=1, h=1, w=1, c=3, dtype="uint8", scale=1.0, zero_point=0)
    found = run(
        kernel(x, np.array([far])).build(mk), "generic_u8", [x.reshape(-1), np.array([far])], y
    )
    np.testing.assert_array_equal(found, x[0, 3 if far > 0 else 0])
