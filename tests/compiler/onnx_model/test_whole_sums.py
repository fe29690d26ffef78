"""Sums of codes by integers have the codes of float32, which is asked pair by pair."""

from fractions import Fraction

import numpy as np
import pytest

from edgekiln.compiler.onnx_model.whole_sums import SumFactors, sum_factors


def rounded(value: Fraction) -> np.float32:
    """The nearest float32, the even one of two."""
    near = np.float32(float(value))
    around = [np.nextafter(near, np.float32(end)) for end in (-np.inf, np.inf)]
    ranked = sorted(
        (abs(Fraction(float(each)) - value), int(each.view(np.uint32) & 1), float(each))
        for each in (near, *around)
    )
    return np.float32(ranked[0][2])


def by_floats(steps: tuple[int, int], ratios: tuple[np.float32, np.float32], zero: int) -> int:
    a, b = steps
    exact = Fraction(float(ratios[0])) * a + Fraction(float(np.float32(b) * ratios[1]))
    return int(np.clip(np.rint(rounded(exact)) + zero, -128, 127))


def by_integers(steps: tuple[int, int], found: SumFactors) -> int:
    products = (step * factor >> 9 for step, factor in zip(steps, found.factors, strict=True))
    whole = found.start + sum(products)
    assert -(2**31) <= whole < 2**31
    return int(np.clip(whole >> found.shift, -128, 127))


@pytest.mark.parametrize("seed", range(12))
def test_a_sum_has_the_code_of_float32(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = np.exp2(rng.uniform(-6, 4, 2)).astype(np.float32)
    zeros = (int(rng.integers(-128, 128)), int(rng.integers(-128, 128)))
    zero = int(rng.integers(-128, 128))
    found = sum_factors((first, second), zeros, zero)
    assert found
    assert all(0 <= factor < 2**31 for factor in found.factors)
    for a, b in rng.integers(-128, 128, (400, 2)).tolist():
        steps = (a - zeros[0], b - zeros[1])
        assert by_integers(steps, found) == by_floats(steps, (first, second), zero)


def test_nearly_all_sums_have_integers() -> None:
    rng = np.random.default_rng(1)
    ratios = np.exp2(rng.uniform(-3, 1, (60, 2))).astype(np.float32)
    found = [sum_factors((first, second), (-128, 3), -128) for first, second in ratios]
    assert sum(each is None for each in found) < 10


@pytest.mark.parametrize("ratio", [0.0, 2.0**9, 2.0**20, np.inf])
def test_scales_that_are_too_far_apart_have_none(ratio: float) -> None:
    assert sum_factors((np.float32(ratio), np.float32(0.0)), (0, 0), 0) is None


def test_halves_that_go_to_even_codes_have_none() -> None:
    half = np.float32(0.5)
    assert sum_factors((half, half), (0, 0), 0) is None
