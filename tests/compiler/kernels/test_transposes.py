"""Values that are moved to other places are ONNX Runtime's, whatever the order of axes."""

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.tensor import dense_strides
from edgekiln.compiler.kernels.copy import CopyKernel
from edgekiln.compiler.kernels.gpu.table import built
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import everywhere, floats_everywhere, microkernel, quick, run

# Whole squares of any side, one value more and one less, runs of two and four, and axes of one.
_EXTENTS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 33, 48])
_MOST = 1 << 15
_SEEDS = st.integers(0, 2**16)


@st.composite
def _orders(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape, and an order of its axes."""
    rank = draw(st.integers(2, 5))
    shape = draw(st.tuples(*[_EXTENTS] * rank).filter(lambda shape: prod(shape) <= _MOST))
    return shape, tuple(draw(st.permutations(range(rank))))


def _flat(elements: int, dtype: str, zero: int = 0, scale: float = 1.0) -> Nhwc:
    return Nhwc(n=1, h=1, w=1, c=elements, dtype=dtype, scale=scale, zero_point=zero)


def _transposition(
    shape: tuple[int, ...], perm: tuple[int, ...], x: Nhwc, y: Nhwc, clip: tuple[int, int] | None
) -> CopyKernel:
    strides, to = dense_strides(shape), tuple(shape[axis] for axis in perm)
    return CopyKernel(
        shape=to, x=x, y=y, x_strides=tuple(strides[axis] for axis in perm),
        y_strides=dense_strides(to), clip=clip,
    )  # fmt: skip


@everywhere
@given(_orders(), _SEEDS)
@quick
def test_transposed_codes_are_onnx_runtimes(
    name: str, order: tuple[tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    mk, (shape, perm) = microkernel(name), order
    low, high = harness.bounds(mk.activation)
    values = np.random.default_rng(seed).integers(low, high + 1, shape).astype(mk.activation)
    flat = _flat(values.size, mk.activation)
    kernel = built(_transposition(shape, perm, flat, flat, None), mk)
    found = run(kernel, name, [values.reshape(-1)], flat)
    expected = harness.ort("Transpose", {"x": values}, perm=perm)
    np.testing.assert_array_equal(found, expected.reshape(-1))


@everywhere
@given(_orders(), _SEEDS)
@quick
def test_codes_that_are_transposed_and_requantized_are_requantized(
    name: str, order: tuple[tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    mk, (shape, perm) = microkernel(name), order
    rng, (low, high) = np.random.default_rng(seed), harness.bounds(mk.activation)
    values = rng.integers(low, high + 1, shape).astype(mk.activation)
    x = _flat(values.size, mk.activation, int(rng.integers(low, high)), 0.05)
    y = _flat(values.size, mk.activation, int(rng.integers(low, high)), 0.0371)
    kernel = built(_transposition(shape, perm, x, y, (low + 3, high)), mk)
    found = run(kernel, name, [values.reshape(-1)], y)
    steps = (values.astype(np.int32) - x.zero_point).astype(np.float32) * np.float32(0.05 / 0.0371)
    expected = harness.requantized(steps, y, (low + 3, high)).transpose(perm)
    np.testing.assert_array_equal(found, expected.reshape(-1))


@floats_everywhere
@given(_orders(), _SEEDS)
@quick
def test_transposed_floats_keep_every_bit(
    name: str, order: tuple[tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    mk, (shape, perm) = microkernel(name), order
    # Of any bits, so that a NaN that an instruction makes quiet would show.
    bits = np.random.default_rng(seed).integers(0, 2**32, shape, np.uint32)
    flat = _flat(bits.size, "float32")
    kernel = built(_transposition(shape, perm, flat, flat, None), mk)
    found = run(
        kernel,
        name,
        [bits.view(np.float32).reshape(-1)],
        Nhwc(n=1, h=1, w=1, c=bits.size, dtype="float32"),
    )
    np.testing.assert_array_equal(found.view(np.uint32), bits.transpose(perm).reshape(-1))


@everywhere
@given(
    _EXTENTS,
    _EXTENTS,
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(0, 5),
    st.integers(0, 2**16),
)
@quick
def test_what_is_transposed_into_a_part_leaves_the_rest(
    name: str, rows: int, columns: int, length: int, gap: int, offset: int, seed: int
) -> None:
    """Of a wider array, whose other values are another operation's, runs are read and written."""
    mk, rng = microkernel(name), np.random.default_rng(seed)
    low, high = harness.bounds(mk.activation)
    wide = length + gap
    x = rng.integers(low, high + 1, offset + rows * columns * wide).astype(mk.activation)
    of_y = _flat(x.size, mk.activation)
    kernel = built(CopyKernel(
        shape=(columns, rows, length), x=_flat(x.size, mk.activation), y=of_y,
        x_strides=(wide, columns * wide, 1), y_strides=(rows * wide, wide, 1),
        x_offset=offset, y_offset=offset,
    ), mk)  # fmt: skip
    found, expected = run(kernel, name, [x], of_y), harness.noise(of_y)
    given = x[offset:].reshape(rows, columns, wide)[:, :, :length]
    expected[offset:].reshape(columns, rows, wide)[:, :, :length] = given.swapaxes(0, 1)
    np.testing.assert_array_equal(found, expected)
