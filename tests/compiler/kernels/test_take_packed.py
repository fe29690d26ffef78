"""Rows of a table of 4 bits a value are the codes times the row's scale, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.take_packed import TakePackedKernel, packed
from tests.compiler.kernels.harness import floats_here, microkernel, quick, run


@floats_here
@given(
    st.integers(1, 40), st.sampled_from([1, 2, 3, 15, 16, 33, 64, 101]), st.integers(1, 9),
    st.sampled_from(["int32", "int64"]), st.integers(0, 2**16),
)  # fmt: skip
@quick
def test_rows_are_codes_times_their_scale(
    name: str, rows: int, width: int, count: int, dtype: str, seed: int
) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    codes = rng.integers(-8, 8, (rows, width)).astype(np.int8)
    scales = rng.uniform(1e-3, 1, rows).astype(np.float32)
    index = rng.integers(-2 * rows, 2 * rows, count).astype(dtype)
    kernel = TakePackedKernel(rows=rows, width=width, count=count, index=dtype)
    y = Nhwc(n=count, h=1, w=1, c=width, dtype="float32")
    operands: list[np.ndarray] = [packed(codes).reshape(-1), scales, index]
    found = run(built(kernel, mk), name, operands, y).reshape(count, width)
    row = np.clip(np.where(index < 0, index + rows, index), 0, rows - 1)
    np.testing.assert_array_equal(found, codes[row].astype(np.float32) * scales[row, None])


@pytest.mark.parametrize("width", [1, 6, 7])
def test_two_codes_share_a_byte(width: int) -> None:
    codes = (np.arange(3 * width, dtype=np.int8).reshape(3, width) % 16) - 8
    table = packed(codes)
    assert table.shape == (3, (width + 1) // 2)
    halves = np.concatenate([table & 15, table >> 4], axis=1)[:, :width]
    np.testing.assert_array_equal((halves.astype(np.int8) ^ 8) - 8, codes)
