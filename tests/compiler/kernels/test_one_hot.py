"""A number's row has one value at the place it names; one that names none has none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.one_hot import OneHotKernel
from edgekiln.compiler.kernels.take import TakeKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import everywhere, floats_here, microkernel, quick, run

_SIZES = (
    st.integers(1, 5), st.sampled_from([1, 2, 3, 16, 33, 100, 257]),
    st.sampled_from([1, 1, 3, 8, 40]), st.sampled_from(["int32", "int64"]), st.integers(0, 2**16),
)  # fmt: skip


def _rows(index: np.ndarray, depth: int, on: float, off: float) -> np.ndarray:
    """ONNX's Where(Equal(index, places), on, off), places along the middle axis."""
    places = np.arange(depth, dtype=index.dtype).reshape(1, depth, 1)
    equal = harness.ort("Equal", {"a": index[:, None, :], "b": places})
    return np.where(equal, on, off)


def _numbers(
    rng: np.random.Generator, outer: int, depth: int, inner: int, dtype: str
) -> np.ndarray:
    return rng.integers(-depth - 2, 2 * depth + 2, (outer, inner)).astype(dtype)


@everywhere
@given(*_SIZES)
@quick
def test_rows_of_codes_are_onnx_runtimes(
    name: str, outer: int, depth: int, inner: int, dtype: str, seed: int
) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    low, high = harness.bounds(mk.activation)
    on, off = (int(code) for code in rng.integers(low, high + 1, 2))
    index = _numbers(rng, outer, depth, inner, dtype)
    kernel = OneHotKernel(
        outer=outer, depth=depth, inner=inner, on=on, off=off, dtype=mk.activation, index=dtype
    )
    y = Nhwc(n=outer, h=depth, w=1, c=inner, dtype=mk.activation, scale=1.0, zero_point=0)
    found = run(built(kernel, mk), name, [index.reshape(-1)], y)
    np.testing.assert_array_equal(found, _rows(index, depth, on, off).reshape(-1))


@floats_here
@given(*_SIZES)
@quick
def test_rows_of_floats_are_onnx_runtimes(
    name: str, outer: int, depth: int, inner: int, dtype: str, seed: int
) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    index = _numbers(rng, outer, depth, inner, dtype)
    kernel = OneHotKernel(
        outer=outer, depth=depth, inner=inner, on=1.5, off=-0.25, dtype="float32", index=dtype
    )
    found = run(
        built(kernel, mk),
        name,
        [index.reshape(-1)],
        Nhwc(n=outer, h=depth, w=1, c=inner, dtype="float32"),
    )
    np.testing.assert_array_equal(found, _rows(index, depth, 1.5, -0.25).reshape(-1))


@pytest.mark.parametrize("far", [-1, -3, 3, 2**32, 2**32 + 1, -(2**32), 2**63 - 1, -(2**63)])
def test_a_number_far_outside_names_no_place(far: int) -> None:
    mk, index = microkernel("generic_u8"), np.array([far, 1])
    kernel = OneHotKernel(outer=2, depth=3, inner=1, on=9, off=4, dtype="uint8", index="int64")
    y = Nhwc(n=2, h=3, w=1, c=1, dtype="uint8", scale=1.0, zero_point=0)
    found = run(kernel.build(mk), "generic_u8", [index], y)
    assert found.tolist() == [4, 4, 4, 4, 9, 4]


@everywhere
@given(
    st.integers(2, 40), st.integers(1, 70), st.sampled_from(["int32", "int64"]), st.integers(0, 99)
)
@quick
def test_a_number_of_no_other_row_takes_the_last(
    name: str, rows: int, inner: int, dtype: str, seed: int
) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    low, high = harness.bounds(mk.activation)
    x = rng.integers(low, high + 1, (rows, inner)).astype(mk.activation)
    index = rng.integers(-rows - 1, 2 * rows, 9).astype(dtype)
    index[:2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    kernel = TakeKernel(
        outer=1, rows=rows, inner=inner, count=9, dtype=mk.activation, index=dtype,
        last_is_other=True,
    )  # fmt: skip
    y = Nhwc(n=1, h=9, w=1, c=inner, dtype=mk.activation, scale=1.0, zero_point=0)
    found = run(built(kernel, mk), name, [x.reshape(-1), index], y)
    named = np.where((index >= 0) & (index < rows - 1), index, rows - 1)
    np.testing.assert_array_equal(found.reshape(9, inner), x[named])
