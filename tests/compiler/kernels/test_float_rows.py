"""Softmax, layer normalization, products and functions of floats, against float64."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.binary import BinaryKernel
from edgekiln.compiler.kernels.epilogue.finish import ActivationFinish
from edgekiln.compiler.kernels.layer_norm import LayerNormKernel
from edgekiln.compiler.kernels.log_softmax import LogSoftmaxKernel
from edgekiln.compiler.kernels.matmul.kernel import MatMulKernel
from edgekiln.compiler.kernels.softmax import SoftmaxKernel
from edgekiln.compiler.kernels.unary import MapKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.floats import UNIT, assert_within, random_floats
from tests.compiler.kernels.harness import (
    Array,
    floats_everywhere,
    floats_here,
    microkernel,
    quick,
    run,
)
from tests.compiler.kernels.test_matmul import stacked

few = settings(quick, max_examples=3)
COUNTS = st.sampled_from([1, 3, 4, 7, 16, 33, 64, 100])


def row(count: int) -> Nhwc:
    return Nhwc(n=1, h=1, w=1, c=count, dtype="float32")


@floats_everywhere
@given(rows=st.integers(1, 4), count=COUNTS, spread=st.sampled_from([0.1, 3.0, 40.0]))
@few
def test_softmax(name: str, rows: int, count: int, spread: float) -> None:
    x: Array = (np.random.default_rng(count).normal(size=(rows, count)) * spread).astype(np.float32)
    kernel = SoftmaxKernel(x=row(x.size), y=row(x.size), count=count).build(microkernel(name))
    found = run(kernel, name, [x.reshape(-1)], row(x.size)).reshape(x.shape)
    powers = np.exp(x.astype(np.float64) - x.max(1, keepdims=True).astype(np.float64))
    expected = powers / powers.sum(1, keepdims=True)
    # Differences of at most 80·spread round once, and so does e to them, its sum and the quotient.
    np.testing.assert_allclose(found, expected, rtol=(count + 16 + 6 * spread) * UNIT, atol=1e-37)


@floats_everywhere
@given(rows=st.integers(1, 4), count=COUNTS, spread=st.sampled_from([0.1, 3.0, 40.0]))
@few
def test_log_softmax(name: str, rows: int, count: int, spread: float) -> None:
    x: Array = (np.random.default_rng(count).normal(size=(rows, count)) * spread).astype(np.float32)
    x[0, count // 2] = -np.inf if count > 1 else x[0, 0]
    kernel = LogSoftmaxKernel(rows=rows, count=count).build(microkernel(name))
    found = run(kernel, name, [x.reshape(-1)], row(x.size)).reshape(x.shape)
    below = x.astype(np.float64) - x.max(1, keepdims=True).astype(np.float64)
    expected = below - np.log(np.exp(below).sum(1, keepdims=True))
    # As of Softmax; its sum's relative error is absolute in the logarithm.
    bound = (count + 16 + 6 * spread) * UNIT
    np.testing.assert_allclose(found, expected, rtol=4 * UNIT, atol=bound)


@floats_everywhere
@given(rows=st.integers(1, 4), count=COUNTS)
@few
def test_layer_normalization(name: str, rows: int, count: int) -> None:
    rng = np.random.default_rng(count)
    x: Any = rng.normal(2, 3, (rows, count)).astype(np.float32)
    gamma, beta = (rng.normal(size=count).astype(np.float32) for _ in range(2))
    lying = row(x.size)
    kernel = LayerNormKernel(x=lying, y=lying, gamma=gamma, beta=beta, epsilon=1e-5)
    found = run(kernel.build(microkernel(name)), name, [x.reshape(-1)], lying)
    exact = x.astype(np.float64)
    centred = exact - exact.mean(1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    expected = centred / deviation * gamma + beta
    # The mean is off by its terms' share, and small deviations make much of that.
    bound = 4 * (count + 8) * UNIT * (np.abs(exact).max() / deviation + 1) * np.abs(gamma) + UNIT
    assert (np.abs(found.reshape(x.shape) - expected) <= bound + 1e-6 * np.abs(beta)).all()


@floats_everywhere
@given(
    batch=st.sampled_from([(), (2,), (2, 3)]),
    size=st.tuples(*[st.sampled_from([1, 3, 5, 16, 17, 40])] * 3),
    tile=st.none() | st.integers(0),
)
@few
def test_products(
    name: str, batch: tuple[int, ...], size: tuple[int, int, int], tile: int | None
) -> None:
    """`tile` counts into the tiles that a product may have, round and round; None: its default."""
    rng = np.random.default_rng(sum(size))
    m, k, n = size
    a, b = (rng.normal(size=(*batch, *s)).astype(np.float32) for s in ((m, k), (k, n)))
    product = MatMulKernel(
        batch=batch, m=m, k=k, n=n,
        a=stacked(batch, m, k, transposed=False),
        b=stacked(batch, k, n, transposed=False),
        y=stacked(batch, m, n, transposed=False),
        result=row(math.prod(batch) * m * n),
        finish=ActivationFinish(function=(FunctionStep("Mul", (0, 0.5)),)),
    )  # fmt: skip
    mk = microkernel(name)
    if tile is not None:
        every = product.tiles(mk)
        product = replace(product, tile=every[tile % len(every)])
    kernel = product.build(mk)
    found = run(kernel, name, [a.reshape(-1), b.reshape(-1)], row(math.prod(batch) * m * n))
    exact, sizes = (x @ y for x, y in ((a, b), (np.abs(a), np.abs(b))))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    splits = product.tile.splits if product.tile else 1
    assert (np.abs(found.reshape(exact.shape) * 2 - exact) <= (k + splits) * UNIT * sizes).all()


UNARY = {
    "Exp": (np.exp, (-80.0, 88.0), 4),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), (-80.0, 80.0), 8),
    "Tanh": (np.tanh, (-12.0, 12.0), 16),
    "Erf": (np.vectorize(math.erf), (-5.0, 5.0), 24),
    "Sqrt": (np.sqrt, (0.0, 100.0), 1),
}


@floats_everywhere
@pytest.mark.parametrize("op", UNARY)
def test_functions_are_near_to_the_last_place(name: str, op: str) -> None:
    exact, (low, high), places = UNARY[op]
    x = np.linspace(low, high, 4099, dtype=np.float32)
    kernel = MapKernel(x=row(x.size), y=row(x.size), function=(FunctionStep(op, (0,)),)).build(
        microkernel(name)
    )
    found = run(kernel, name, [x], row(x.size))
    np.testing.assert_allclose(found, exact(x.astype(np.float64)), rtol=places * 2 * UNIT, atol=0)


@floats_everywhere
@pytest.mark.parametrize("op", UNARY)
def test_nan_goes_through_functions(name: str, op: str) -> None:
    x = np.linspace(0, 4, 37, dtype=np.float32)
    x[::5] = np.nan
    kernel = MapKernel(x=row(x.size), y=row(x.size), function=(FunctionStep(op, (0,)),)).build(
        microkernel(name)
    )
    found = run(kernel, name, [x], row(x.size))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))


@floats_here
def test_exponentials_leave_float32_as_they_should(name: str) -> None:
    x = np.array([-1000.0, 1000.0, 89.0, 0.0], np.float32)
    kernel = MapKernel(x=row(4), y=row(4), function=(FunctionStep("Exp", (0,)),)).build(
        microkernel(name)
    )
    found = run(kernel, name, [x], row(4))
    assert found[0] < 2e-38
    np.testing.assert_array_equal(found[1:], [np.inf, np.inf, 1.0])


@floats_here
@given(
    kind=st.sampled_from(["Add", "Mul", "Sub", "Div", "Max", "Min"]),
    of_b=st.sampled_from(["whole", "image", "channel", "row", "one"]),
    c=st.sampled_from([1, 3, 8, 17, 64]),
    border=st.integers(0, 3),
)
@quick
def test_pairs(name: str, kind: str, of_b: str, c: int, border: int) -> None:
    rng = np.random.default_rng(c)
    shape = {"h": 3, "w": 5, "dtype": "float32", "halo": harness.halo(border, 0, 0, 0, 0)}
    small = {"n": 1, "h": 1, "w": 1, "dtype": "float32"}
    b_of: dict[str, Any] = {
        "whole": {"n": 2, "c": c, **shape},
        "image": {"n": 1, "c": c, **shape},
        "channel": {"c": c, **small},
        "row": {"c": 1, **small, "n": 2, "h": 3},
        "one": {"c": 1, **small},
    }
    a = random_floats(rng, Nhwc(n=2, c=c, **shape))  # type: ignore[arg-type]
    b = random_floats(rng, Nhwc(**b_of[of_b]))
    y = Nhwc(n=2, c=c, **{**shape, "halo": harness.halo(3 - border, 0, 0, 0, 0)})  # type: ignore[arg-type]
    finish = ActivationFinish(clip=(-1.0, float("inf")))
    kernel = BinaryKernel(kind=kind, a=a.tensor, b=b.tensor, y=y, finish=finish)
    found = run(kernel.build(microkernel(name)), name, [a.memory(), b.memory()], y)
    operation = {
        "Add": np.add, "Mul": np.multiply, "Sub": np.subtract, "Div": np.divide,
        "Max": np.maximum, "Min": np.minimum,
    }[kind]  # fmt: skip
    expected = np.maximum(operation(a.values, b.values), np.float32(-1))
    assert_within(found, y, expected, np.zeros(1))
