"""The best values of rows, against numpy's stable order; many are equal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.selection import TakeAlongKernel, TopPlacesKernel
from tests.compiler.kernels.harness import EMULATED, microkernel, quick, run

# The same code on every chip: value by value.
somewhere = pytest.mark.parametrize(
    "name", ["x86_avx2", *(pytest.param(name, marks=pytest.mark.slow) for name in EMULATED)]
)


@somewhere
@pytest.mark.parametrize("dtype", ["int8", "float32"])
@quick
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 3)),
    share=st.floats(0, 1), largest=st.booleans(), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_the_best_come_first_and_of_equals_the_first(
    name: str, dtype: str, shape: tuple[int, int, int], share: float, largest: bool, seed: int
) -> None:
    outer, extent, inner = shape
    count = 1 + round(share * (extent - 1))
    mk = microkernel(name)
    x = np.random.default_rng(seed).integers(-2, 2, shape).astype(dtype)
    order = np.argsort(-x.astype(int) if largest else x.astype(int), axis=1, kind="stable")
    top = TopPlacesKernel(
        outer=outer, extent=extent, inner=inner, count=count, dtype=dtype, largest=largest
    )
    places = Nhwc(n=outer, h=count, w=1, c=inner, dtype="int64")
    found = run(top.build(mk), name, [x.reshape(-1)], places).reshape(outer, count, inner)
    np.testing.assert_array_equal(found, order[:, :count])
    take = TakeAlongKernel(outer=outer, extent=extent, inner=inner, count=count, dtype=dtype)
    y = Nhwc(n=outer, h=count, w=1, c=inner, dtype=dtype)
    taken = run(take.build(mk), name, [x.reshape(-1), found.reshape(-1)], y)
    np.testing.assert_array_equal(taken.reshape(found.shape), np.take_along_axis(x, found, axis=1))


@somewhere
def test_a_row_of_no_numbers_names_a_place_inside(name: str) -> None:
    x = np.full(5, np.nan, np.float32)
    kernel = TopPlacesKernel(outer=1, extent=5, inner=1, count=5, dtype="float32", largest=True)
    places = Nhwc(n=1, h=1, w=1, c=5, dtype="int64")
    found = run(kernel.build(microkernel(name)), name, [x], places)
    assert set(found) <= set(range(5))


@somewhere
@pytest.mark.parametrize("largest", [True, False])
def test_what_is_no_number_is_not_among_the_best(name: str, largest: bool) -> None:
    x = np.array([np.nan, 1, np.nan, 5, -np.inf, np.inf, 5], np.float32)
    kernel = TopPlacesKernel(outer=1, extent=7, inner=1, count=6, dtype="float32", largest=largest)
    places = Nhwc(n=1, h=1, w=1, c=6, dtype="int64")
    found = run(kernel.build(microkernel(name)), name, [x], places)
    assert found.tolist() == ([5, 3, 6, 1, 4, 0] if largest else [4, 1, 3, 6, 5, 0])
