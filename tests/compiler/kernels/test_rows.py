"""Softmax and layer normalization against float64: codes differ only at ties, by one."""

import re
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.layer_norm import LayerNormKernel
from edgekiln.compiler.kernels.softmax import SoftmaxKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import Array, everywhere, microkernel, quick

SIZES = st.sampled_from([1, 2, 5, 8, 10, 16, 31, 64, 100, 197])
ROWS = st.sampled_from([1, 4, 7])  # kernels take four at a time, where there are so many
SEEDS = st.integers(0, 2**16)


def rows_of(dtype: str, rows: int, count: int, scale: float, zero_point: int) -> Nhwc:
    return Nhwc(n=1, h=1, w=rows, c=count, dtype=dtype, scale=scale, zero_point=zero_point)


def assert_within_ties(memory: Array, expected: Array, y: Nhwc) -> None:
    """`expected` in real values; a code may be the other one where they lie in the middle."""
    low, high = harness.bounds(y.dtype)
    exact = np.clip(expected / y.scale + y.zero_point, low, high).reshape(-1)
    assert np.abs(memory - exact).max() <= 0.5 + 1e-3


def check_softmax(name: str, rows: int, count: int, seed: int) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    low, high = harness.bounds(mk.activation)
    scale = float(np.float32(rng.choice([0.003, 0.05, 0.3, 1.3])))  # 0.3: near float32's largest
    x = rows_of(mk.activation, rows, count, scale, 9)
    y = rows_of(mk.activation, rows, count, 1 / 256, low)
    codes: Any = rng.integers(low, high + 1, (rows, count)).astype(mk.activation)
    kernel = built(SoftmaxKernel(x=x, y=y, count=count, clip=(low, high)), mk)
    memory = harness.run(kernel, name, [codes.reshape(-1)], y)
    powers = np.exp((codes.astype(np.float64) - codes.max(axis=1, keepdims=True)) * x.scale)
    assert_within_ties(memory, powers / powers.sum(axis=1, keepdims=True), y)


def check_layer_normalization(name: str, rows: int, count: int, seed: int) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    low, high = harness.bounds(mk.activation)
    x = rows_of(mk.activation, rows, count, float(np.float32(0.031)), int(rng.integers(low, high)))
    y = rows_of(mk.activation, rows, count, float(np.float32(0.027)), int(rng.integers(low, high)))
    codes: Any = rng.integers(low, high + 1, (rows, count)).astype(mk.activation)
    codes[0] = codes[0, 0]  # no variance at all
    gamma, beta = (rng.normal(size=count).astype(np.float32) for _ in range(2))
    kernel = built(LayerNormKernel(
        x=x, y=y, gamma=gamma, beta=beta, epsilon=1e-5, clip=(low, high)
    ), mk)  # fmt: skip
    memory = harness.run(kernel, name, [codes.reshape(-1)], y)
    real = (codes.astype(np.float64) - x.zero_point) * x.scale
    centred = real - real.mean(axis=1, keepdims=True)
    normal = centred / np.sqrt(centred.var(axis=1, keepdims=True) + 1e-5)
    assert_within_ties(memory, normal * gamma + beta, y)


@everywhere
@given(rows=ROWS, count=SIZES, seed=SEEDS)
@quick
def test_softmax(name: str, rows: int, count: int, seed: int) -> None:
    check_softmax(name, rows, count, seed)


def test_the_largest_of_a_row_is_no_endless_term() -> None:
    """A name bound to integers is put in its place by TVM, in every address: what is folded lane by
    lane must lie in variables, or a row of 100 codes takes LLVM's generator minutes.
    """
    mk = microkernel("x86_vbmi")
    x = rows_of(mk.activation, 7, 100, 1.3, 9)
    y = rows_of(mk.activation, 7, 100, 1 / 256, 0)
    kernel = built(SoftmaxKernel(x=x, y=y, count=100, clip=harness.bounds(mk.activation)), mk)
    bound = re.findall(r"T\.let\[T\.uint8x\d+\] = (.*)", kernel.func.script())
    assert bound
    assert not [value for value in bound if "T.max" in value]


@everywhere
@given(rows=ROWS, count=SIZES, seed=SEEDS)
@quick
def test_layer_normalization(name: str, rows: int, count: int, seed: int) -> None:
    check_layer_normalization(name, rows, count, seed)
