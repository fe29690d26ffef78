"""A multiply-add on chips without the instruction has the bits of those that have it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.tir import store
from edgekiln.targets import isa
from edgekiln.targets.isa.expressions import load
from tests.compiler.kernels import harness

Floats = NDArray[np.float32]
LANES = 8
COUNT = 64


def multiply_add(name: str) -> Callable[..., None]:
    """a·b + c of COUNT numbers, by the micro-kernel."""
    mk = harness.microkernel(name)
    with KernelBuilder() as k:
        a, b, c, y = (k.tensor(COUNT, "float32") for _ in range(4))
        k.no_items()
        for at in range(0, COUNT, LANES):
            left, right, summand = (load(buffer, at, LANES) for buffer in (a, b, c))
            store(y, at, mk.fma(left, right, summand, LANES), LANES)
    return harness.loaded(k.finish(), name)


@pytest.fixture(scope="module")
def pair() -> tuple[Callable[..., None], Callable[..., None]]:
    return multiply_add("x86_sse41"), multiply_add("x86_avx2")


def assert_same(pair: tuple[Callable[..., None], ...], a: Floats, b: Floats, c: Floats) -> None:
    results = [np.zeros(COUNT, np.float32) for _ in pair]
    for call, y in zip(pair, results, strict=True):
        call(a, b, c, y)
    ours, theirs = results
    nan = np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), nan)
    np.testing.assert_array_equal(ours[~nan].view(np.int32), theirs[~nan].view(np.int32))


@given(seed=st.integers(0, 2**32 - 1))
@harness.quick
def test_any_numbers(pair: Any, seed: int) -> None:
    """Of any bits: among them NaN, infinity and what is too small for all digits."""
    bits = np.random.default_rng(seed).integers(-(2**31), 2**31, (3, COUNT)).astype(np.int32)
    assert_same(pair, *bits.view(np.float32))


@given(seed=st.integers(0, 2**32 - 1), scale=st.integers(-80, 80))
@harness.quick
def test_sums_next_to_the_middle_between_two_numbers(pair: Any, seed: int, scale: int) -> None:
    """c + half of its last digit and a little more or less: too little for float64 to see."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, COUNT)
    a = (1 + x * 2.0**-23).astype(np.float32)
    b = ((1 - x * 2.0**-23) * 2.0 ** (scale - 24)).astype(np.float32)
    c = ((1 + rng.integers(0, 2**23, COUNT) * 2.0**-23) * 2.0**scale).astype(np.float32)
    signs = rng.choice(np.array([-1, 1], np.float32), (2, COUNT))
    assert_same(pair, a, b * signs[0], c * signs[1])


def test_rounding_twice_would_be_wrong(pair: Any) -> None:
    a = np.full(COUNT, 1 + 2.0**-23, np.float32)
    b = np.full(COUNT, (1 - 2.0**-23) * 2.0**-24, np.float32)
    c = np.full(COUNT, 1 + 2.0**-23, np.float32)
    y = np.zeros(COUNT, np.float32)
    pair[0](a, b, c, y)
    assert (y == c).all()
    twice = (a.astype(np.float64) * b.astype(np.float64) + c).astype(np.float32)
    assert (twice != c).all()


def test_infinities_and_nan_are_those_of_the_instruction(pair: Any) -> None:
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, 3e38, 1e-45], np.float32)
    a, b, c = np.meshgrid(special, special, special)
    for part in range(0, a.size, COUNT):
        at = slice(part, part + COUNT)
        assert_same(pair, *(x.reshape(-1)[at].copy() for x in (a, b, c)))
    assert a.size == 8 * COUNT


def test_the_exact_form_belongs_to_chips_without_fma() -> None:
    assert not isa.load("x86_sse41").sums_as_floats
    assert isa.load("x86_avx2").sums_as_floats
