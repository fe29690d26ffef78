"""Sums, products and tables against the formula; sums against ONNX Runtime up to float ties."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.kernels.binary import BinaryKernel, factors
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.types import in_rows
from edgekiln.compiler.kernels.unary import LookupKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import Codes, everywhere, microkernel, quick, run

SHAPES = st.tuples(
    st.integers(1, 2), st.sampled_from([1, 3, 8, 10, 17, 33, 127]), st.integers(1, 6),
    st.integers(1, 9),
)  # fmt: skip
SEEDS = st.integers(0, 2**16)


def random_codes(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str, scale: float, border: int
) -> Codes:
    """Codes over the whole range, the zero point anywhere, both ends included."""
    low, high = harness.bounds(dtype)
    n, c, h, w = shape
    tensor = Nhwc(
        n=n, h=h, w=w, c=c, dtype=dtype, scale=float(np.float32(scale)),
        zero_point=int(rng.choice([low, high, rng.integers(low, high + 1)])),  # type: ignore[arg-type]
        halo=harness.halo(border, 0, 0, 0, 0),
    )  # fmt: skip
    return Codes(tensor, rng.integers(low, high + 1, shape).astype(dtype))


def binary(kind: str, a: Nhwc, b: Nhwc, y: Nhwc, clip: tuple[int, int]) -> BinaryKernel:
    finish = RequantizeFinish(mult=factors(kind, a, b, y), clip=clip)
    return BinaryKernel(kind=kind, a=a, b=b, y=y, finish=finish)


@everywhere
@given(
    SHAPES,
    SEEDS,
    st.sampled_from(["Add", "Mul"]),
    st.sampled_from(["same", "channel", "row", "one"]),
)
@quick
def test_sums_and_products_follow_the_formula(
    name: str, shape: tuple[int, ...], seed: int, kind: str, spread: str
) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    border = int(rng.integers(0, 4))
    n, c, h = shape[:3]
    small = {
        "same": shape, "channel": (n, c, 1, 1), "row": (n, 1, h, 1), "one": (1, 1, 1, 1)
    }[spread]  # fmt: skip
    a = random_codes(rng, shape, mk.activation, rng.uniform(0.01, 0.1), border)
    b = random_codes(rng, small, mk.activation, rng.uniform(0.01, 0.1), border and 3)
    factor = 1.0 if kind == "Add" else 5 * b.tensor.scale
    factor = factor if seed % 5 else 1e-9  # steps beyond int32
    y = random_codes(rng, shape, mk.activation, a.tensor.scale * factor * 1.7, 3 - border).tensor
    clip = harness.bounds(y.dtype)
    if seed % 2:
        clip = (int(clip[0] + 20), int(clip[1] - 100))
    kernel = built(binary(kind, a.tensor, b.tensor, y, clip), mk)
    memory = run(kernel, name, [a.memory(), b.memory()], y)
    if kind == "Add":
        expected = harness.summed(a, b, y, clip)
    else:
        left, right = (t.values.astype(np.int32) - t.tensor.zero_point for t in (a, b))
        ratio = np.float32(a.tensor.scale * b.tensor.scale / y.scale)
        expected = harness.requantized((left * right).astype(np.float32) * ratio, y, clip)
    harness.assert_codes(memory, Codes(y, expected))


REALS = {
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "PRelu": lambda a, b: np.where(a > 0, a, a * b),
}


@everywhere
@given(SHAPES, SEEDS, st.sampled_from(sorted(REALS)), st.sampled_from(["same", "channel", "one"]))
@quick
def test_what_is_computed_on_real_numbers_has_their_bits(
    name: str, shape: tuple[int, ...], seed: int, kind: str, spread: str
) -> None:
    """Dequantized, computed and quantized, in float32: divisions by zero included."""
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    small = {"same": shape, "channel": (*shape[:2], 1, 1), "one": (1, 1, 1, 1)}[spread]
    a = random_codes(rng, shape, mk.activation, rng.uniform(0.01, 0.1), seed % 3)
    b = random_codes(rng, small, mk.activation, rng.uniform(0.01, 0.1), 0)
    # By a product with the reciprocal; by a division, of 2⁻¹²⁰; with steps beyond int32.
    scale = {0: 2.0**-120, 1: 1e-9}.get(seed % 5, 0.07)
    y = random_codes(rng, shape, mk.activation, scale, 1).tensor
    clip = harness.bounds(y.dtype)
    if seed % 2:
        clip = (int(clip[0] + 20), int(clip[1] - 100))
    kernel = built(binary(kind, a.tensor, b.tensor, y, clip), mk)
    memory = run(kernel, name, [a.memory(), b.memory()], y)
    left, right = (
        (t.values.astype(np.float32) - np.float32(t.tensor.zero_point)) * np.float32(t.tensor.scale)
        for t in (a, b)
    )
    with np.errstate(all="ignore"):
        steps = np.rint(REALS[kind](left, right) / np.float32(y.scale))
    codes = np.nan_to_num(steps, nan=-np.inf).astype(np.float64) + y.zero_point
    harness.assert_codes(memory, Codes(y, codes.clip(*clip).astype(y.dtype)))


@everywhere
@given(SHAPES, SEEDS)
@quick
def test_sums_agree_with_dequantized_ones_but_for_ties(
    name: str, shape: tuple[int, ...], seed: int
) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    a = random_codes(rng, shape, mk.activation, 0.031, 0)
    b = random_codes(rng, shape, mk.activation, 0.017, 1)
    y = random_codes(rng, shape, mk.activation, 0.049, 0).tensor
    clip = harness.bounds(y.dtype)
    kernel = built(binary("Add", a.tensor, b.tensor, y, clip), mk)
    codes = harness.interior(y, run(kernel, name, [a.memory(), b.memory()], y))
    real = sum(
        (t.values.astype(np.float64) - t.tensor.zero_point) * t.tensor.scale for t in (a, b)
    ).transpose(0, 2, 3, 1)  # type: ignore[union-attr]
    exact = np.clip(real / y.scale + y.zero_point, *clip)
    assert np.abs(codes - exact).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(
    ("shape", "rows"),
    [((1, 1, 197, 768), 197), ((2, 7, 7, 96), 7), ((1, 1, 1009, 1), 1), ((1, 64, 64, 3), 4)],
)
def test_what_lies_side_by_side_is_shared_in_even_rows(
    shape: tuple[int, int, int, int], rows: int
) -> None:
    n, h, w, c = shape
    x = Nhwc(n=n, h=h, w=w, c=c, dtype="int8", scale=1.0, zero_point=0)
    (flat,) = in_rows(x)
    assert (flat.n, flat.h, flat.w * rows, flat.c) == (1, rows, n * h * w, c)
    bordered = replace(x, halo=Halo(top=1))
    assert in_rows(x, bordered) == (x, bordered)


@everywhere
@given(SHAPES, SEEDS)
@quick
def test_a_lookup_table_maps_every_code(name: str, shape: tuple[int, ...], seed: int) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    x = random_codes(rng, shape, mk.activation, 0.1, seed % 4)
    y = random_codes(rng, shape, mk.activation, 0.2, (seed + 1) % 4).tensor
    low, high = harness.bounds(y.dtype)
    table: Any = rng.integers(low, high + 1, 256).astype(y.dtype)
    memory = run(built(LookupKernel(x=x.tensor, y=y, table=table), mk), name, [x.memory()], y)
    expected = table[x.values.astype(np.int32) - low]
    harness.assert_codes(memory, Codes(y, expected))
