"""Winograd's minimal filtering F(4×4, 3×3): 36 products where the definition takes 144.

Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A for a window d of 6×6 pixels, a filter g and 4×4 results (A. Lavin,
S. Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308, section 4.3). The
products of all input channels are summed before Aᵀ: 36 products of matrices.

It is exact in integers. The rows of G are multiplied by what makes them whole (two by -6, not 6),
the columns of Aᵀ by what is left to 24, and its rows divided by what they have in common: then the
results, R = 3·2ˢ times too large in either direction (s: `SHIFTS`), are sums and products of
integers. Modulo 2³² a division by 9 is a multiplication by its inverse, and 2 to the sum of both s
is shifted out: right whenever the result itself keeps so many bits from the top (`is_exact`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.epilogue.sums import Weights, sum_range
from edgekiln.compiler.kernels.tir import let
from edgekiln.targets.isa.expressions import Expr, const, float_const, reinterpret, splat

Transform = Callable[[Sequence[Expr], str, int], list[Expr]]

TILE = 4  # results in either direction
WINDOW = 6  # pixels they depend on
POINTS = WINDOW * WINDOW
FILTER = 3  # weights in either direction

SHIFTS = (3, 2, 1, 1)  # the i-th of four results is 3·2ˢ times too large
# An exact division by 9 modulo 2³² is a multiplication by this.
_INVERSE_OF_9 = pow(9, -1, 2**32)
# G of the paper, each row times what makes it whole.
_G = ((6, 0, 0), (1, 1, 1), (1, -1, 1), (1, 2, 4), (1, -2, 4), (0, 0, 6))


def transformed_weights(weight: Weights) -> NDArray[np.generic]:
    """Return (OC, IC, 3, 3) filters as (OC, IC, 36) points: int8 as int16, at most 7²·127; float32
    as such.
    """
    integer = weight.dtype == np.int8
    # float64 holds the integers exactly, too: they are below 2¹³.
    g = np.array(_G, np.float64)
    points: NDArray[np.float64] = g @ weight.astype(np.float64) @ g.T
    return points.reshape(*weight.shape[:2], POINTS).astype(np.int16 if integer else np.float32)


def is_exact(weight: Weights) -> bool:
    """Whether no sum of codes (0 to 255) times weights can lose its sign to a shift.

    Floats have no such bound.
    """
    if weight.dtype != np.int8:
        return True
    least, most = sum_range(weight)
    bits = 31 - 2 * max(SHIFTS)
    return max(-int(least.min()), int(most.max())) >> bits == 0


def erased(weight: Weights) -> Weights:
    """Return weights that stand for all of which `is_exact` says the same."""
    return np.full_like(weight, 0 if is_exact(weight) else -128)


def both_ways(
    transform: Transform, columns: Iterable[Sequence[Expr]], dtype: str, lanes: int
) -> Iterator[tuple[int, int, Expr]]:
    """Transform every column, then every row. Yields row, column and value of each point."""
    done = [transform(column, dtype, lanes) for column in columns]
    for i, row in enumerate(zip(*done, strict=True)):
        for j, value in enumerate(transform(row, dtype, lanes)):
            yield i, j, value


def input_transform(d: Sequence[Expr], dtype: str, lanes: int) -> list[Expr]:
    """Return Bᵀ d in one direction: six points of six pixels. Codes stay inside int16, even when
    both directions are done.

        Bᵀ = 4  0 -5  0  1  0
             0 -4 -4  1  1  0
             0  4 -4 -1  1  0
             0 -2 -1  2  1  0
             0  2 -1 -2  1  0
             0  4  0 -5  0  1
    """
    inner = let(d[4] - _times(4, d[2], dtype, lanes))
    outer = let(d[3] - _times(4, d[1], dtype, lanes))
    even = let(d[4] - d[2])
    odd = let(_times(2, d[3] - d[1], dtype, lanes))
    return [
        let(_times(4, d[0] - d[2], dtype, lanes) + even),
        let(inner + outer),
        let(inner - outer),
        let(even + odd),
        let(even - odd),
        let((d[5] - d[3]) - _times(2, odd, dtype, lanes)),
    ]


def filter_transform(g: Sequence[Expr], dtype: str, lanes: int) -> list[Expr]:
    """Return G g in one direction: six points of three weights, as `transformed_weights` computes
    them.
    """
    ends = let(g[0] + g[2])
    even, odd = let(g[0] + _times(4, g[2], dtype, lanes)), let(_times(2, g[1], dtype, lanes))
    return [
        let(_times(6, g[0], dtype, lanes)),
        let(ends + g[1]),
        let(ends - g[1]),
        let(even + odd),
        let(even - odd),
        let(_times(6, g[2], dtype, lanes)),
    ]


def output_transform(m: Sequence[Expr], dtype: str, lanes: int) -> list[Expr]:
    """Return Aᵀ m in one direction: four results of six points, each 3·2ˢ times too large."""
    p, q = let(m[1] + m[2]), let(m[1] - m[2])
    r, s = let(m[3] + m[4]), let(m[3] - m[4])
    return [
        let(m[0] - _times(4, p, dtype, lanes) + r),
        let(s - _times(2, q, dtype, lanes)),
        let(r - p),
        let(_times(2, s, dtype, lanes) - q + m[5]),
    ]


def unscaled(value: Expr, row: int, column: int, dtype: str, lanes: int) -> Expr:
    """Return a result of the output transform in both directions without its factor: int32, or
    float32.
    """
    shift = SHIFTS[row] + SHIFTS[column]
    if dtype == "float32":
        return value * splat(float_const(1 / (9 << shift)), lanes)
    ninth = reinterpret(value * splat(const(_INVERSE_OF_9, "uint32"), lanes), "int32", lanes)
    return ninth >> splat(const(shift), lanes)


def _times(factor: int, value: Expr, dtype: str, lanes: int) -> Expr:
    """`value` times a number that the type holds."""
    from tvm import tirx

    return value * splat(tirx.const(factor, dtype), lanes)
