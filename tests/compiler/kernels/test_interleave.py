"""Channels taken in turn, from anywhere in their images, borders left and right included; through
tables, too.
"""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.interleave import InterleaveKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import Codes, everywhere, microkernel, quick, run
from tests.compiler.kernels.test_elementwise import random_codes


@everywhere
@given(
    st.integers(1, 3), st.sampled_from([1, 3, 8, 29, 58, 100]), st.integers(0, 5),
    st.integers(0, 2**16),
)  # fmt: skip
@quick
def test_channels_come_in_turn(name: str, groups: int, count: int, extra: int, seed: int) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    starts = tuple(int(rng.integers(0, extra + 1)) for _ in range(groups))
    shape = (int(rng.integers(1, 3)), count + extra, 3, 5)
    xs = [random_codes(rng, shape, mk.activation, 0.1, border) for border in range(groups)]
    xs = [Codes(replace(x.tensor, zero_point=xs[0].tensor.zero_point), x.values) for x in xs]
    y = replace(xs[0].tensor, c=count * groups, halo=harness.halo(seed % 4, 0, 0, 0, 0))
    low, high = harness.bounds(mk.activation)
    tables = [rng.integers(low, high + 1, 256).astype(mk.activation) for _ in range(groups - 1)]
    parts = [x.values[:, start : start + count] for x, start in zip(xs, starts, strict=True)]
    parts[1:] = [
        table[part.astype(int) - low] for table, part in zip(tables, parts[1:], strict=True)
    ]
    expected = np.stack(parts, axis=2).reshape(y.n, y.c, y.h, y.w)
    kernel = built(InterleaveKernel(
        xs=tuple(x.tensor for x in xs), y=y, starts=starts, tables=(None, *tables)
    ), mk)  # fmt: skip
    harness.assert_codes(run(kernel, name, [x.memory() for x in xs], y), Codes(y, expected))
