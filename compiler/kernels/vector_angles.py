"""The functions of angles, and their inverses, of float32 vectors.

Polynomials are those of Moshier's Cephes library, in single precision. Errors against exact results
are a few units in the last place; the tests hold them.
"""

import math
from itertools import pairwise

from edgekiln.compiler.kernels.float_bits import (
    MANTISSA_BITS,
    absolute,
    as_float,
    constant,
    is_finite,
    nan,
    sign_bit,
    size_bits,
    turned,
    word,
)
from edgekiln.compiler.kernels.multiply_add import approximate_fma, cancelling_fma
from edgekiln.compiler.kernels.tir import let, register, store, when
from edgekiln.compiler.kernels.vector_math import polynomial
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    cast,
    const,
    llvm,
    load,
    maximum,
    minimum,
    reinterpret,
    select,
    shuffle,
    splat,
    vector,
)

# Lowest power first.
_SIN = (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
_COS = (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)
_TAN = (
    3.33331568548e-1, 1.33387994085e-1, 5.34112807005e-2, 2.44301354525e-2, 3.11992232697e-3,
    9.38540185543e-3,
)  # fmt: skip
_ASIN = (
    1.6666752422e-1, 7.4953002686e-2, 4.5470025998e-2, 2.4181311049e-2, 4.2163199048e-2,
)  # fmt: skip
_ATAN = (-3.33329491539e-1, 1.99777106478e-1, -1.38776856032e-1, 8.05374449538e-2)

# π/2 in three parts. n times the first, taken from an x near it, leaves no rounding behind.
_HALF_PI = (1.57079637050628662109375, -4.371138828673793e-8, -1.7151245100058819e-15)
# Up to here n is right, and three parts are enough: the digits that cancel are fewer than theirs.
_NEAR = 2.0**17
# 2/π: eight zeros, then its binary digits behind the point, as many as the largest float32 needs
# (Payne, Hanek, "Radian reduction for trigonometric functions", SIGNUM Newsletter, 1983).
_WORDS = (0x00A2F983, 0x6E4E4415, 0x29FC2757, 0xD1F534DD, 0xC0DB6295, 0x993C4390, 0x41FE5163)
_PLACES = 4  # words at which a number's digits may begin
_FIRST = 144  # the biased exponent of _NEAR
_QUARTER = math.pi / 2


def sin(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """The sine; NaN of an infinity."""
    return _wave(mk, x, lanes, sign_bit(x, lanes), 0)


def cos(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """The cosine; NaN of an infinity."""
    return _wave(mk, x, lanes, word(0, lanes), 1)


def _wave(mk: MicroKernel, x: Expr, lanes: int, sign: Expr, ahead: int) -> Expr:
    """The sine of |x|, so many quarters ahead, with another sign where the bit is set."""
    quarter, r = _reduced(mk, x, lanes)
    quarter = let(quarter + word(ahead, lanes)) if ahead else quarter
    square = let(r * r)
    of_sin = approximate_fma(mk, r * square, polynomial(mk, square, _SIN, lanes), r, lanes)
    of_cos = approximate_fma(mk, square, constant(-0.5, lanes), constant(1.0, lanes), lanes)
    of_cos = approximate_fma(
        mk, square * square, polynomial(mk, square, _COS, lanes), of_cos, lanes
    )
    value = select(_bit(quarter, 1, lanes), of_cos, of_sin)
    # The third quarter and the fourth are the first two upside down.
    upside = (quarter & word(2, lanes)) << word(30, lanes)
    return _of_numbers(x, turned(value, sign ^ upside, lanes), lanes)


def tan(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """The tangent; NaN of an infinity."""
    quarter, r = _reduced(mk, x, lanes)
    square = let(r * r)
    value = let(approximate_fma(mk, r * square, polynomial(mk, square, _TAN, lanes), r, lanes))
    odd, one = _bit(quarter, 1, lanes), constant(1.0, lanes)
    value = select(odd, -one, value) / select(odd, value, one)
    return _of_numbers(x, turned(value, sign_bit(x, lanes), lanes), lanes)


def _bit(value: Expr, bit: int, lanes: int) -> Expr:
    return (value & word(bit, lanes)) > word(0, lanes)


def _of_numbers(x: Expr, value: Expr, lanes: int) -> Expr:
    return select(is_finite(x, lanes), value, nan(lanes))


def _reduced(mk: MicroKernel, x: Expr, lanes: int) -> tuple[Expr, Expr]:
    """Return n (int32, its last two bits) and r of |x| = n·π/2 + r with |r| ≤ π/4, nearly."""
    size = let(absolute(x, lanes))
    near = minimum(constant(_NEAR, lanes), size)
    n = let(mk.round_to_int(near * constant(1 / _QUARTER, lanes), lanes))
    whole, rest = let(as_float(n, lanes)), size
    for part in _HALF_PI:
        rest = let(cancelling_fma(mk, whole, constant(-part, lanes), rest, lanes))
    quarters, remainders = register("int32", lanes), register("float32", lanes)
    store(quarters, 0, n, lanes)
    store(remainders, 0, rest, lanes)
    # Angles so large are rare: where all are near, their digits cost nothing.
    bits = let(size_bits(x, lanes))
    beyond = word((_FIRST << MANTISSA_BITS) - 1, lanes)
    with when(_largest(bits, lanes) > ((_FIRST << MANTISSA_BITS) - 1)):
        far_n, far_rest = _far(bits, lanes)
        far = bits > beyond
        store(quarters, 0, select(far, far_n, n), lanes)
        store(remainders, 0, select(far, far_rest, rest), lanes)
    return let(load(quarters, 0, lanes)), let(load(remainders, 0, lanes))


def _largest(x: Expr, lanes: int) -> Expr:
    """The largest lane of int32."""
    while lanes > 1:
        half = lanes // 2
        low, high = (shuffle([x], range(at, at + half)) for at in (0, half))
        x, lanes = let(maximum(low, high)), half
    return x


def _far(bits: Expr, lanes: int) -> tuple[Expr, Expr]:
    """What `_reduced` returns, of the bits of numbers from `_NEAR` on: with 96 digits of 2/π, from
    the first one whose product with the mantissa is no multiple of four quarters.
    """

    def wide(value: Expr) -> Expr:
        # By its bits: TVM takes no negative constants for unsigned ones.
        low = let(cast(value, "int64", lanes) & splat(const(0xFFFFFFFF, "int64"), lanes))
        return reinterpret(low, "uint64", lanes)

    def places(count: int) -> Expr:
        return splat(const(count, "uint64"), lanes)

    first = let(maximum(word(0, lanes), (bits >> word(MANTISSA_BITS, lanes)) - word(_FIRST, lanes)))
    mantissa = (bits & word(2**MANTISSA_BITS - 1, lanes)) | word(2**MANTISSA_BITS, lanes)
    factor, at = let(wide(mantissa)), let(first >> word(5, lanes))
    shift = let(wide(first & word(31, lanes)))

    def digits(place: int) -> Expr:
        """The `place`th 32 digits of 2/π, of those that belong to a number."""
        # As int32, which half as many registers hold.
        signed = [w - (w >> 31 << 32) for w in _WORDS[place : place + _PLACES]]
        chosen, *others = [word(w, lanes) for w in signed]
        for index, other in enumerate(others, 1):
            chosen = select(at >= word(index, lanes), other, chosen)
        return let(wide(chosen))

    words = [digits(place) for place in range(4)]
    high, middle, low = (
        (((a << places(32)) | b) << shift) >> places(32) for a, b in pairwise(words)
    )
    # A product of 64 digits behind the point, whole multiples of four quarters left out.
    product = ((factor * high) << places(32)) + factor * middle
    product = let(product + ((factor * low) >> places(32)))
    # The two digits before the quarter's own point, rounded.
    quarter = (product + places(2**61)) >> places(62)
    fraction = let(product << places(2))
    upper, lower = (
        cast(reinterpret(let(part), "int64", lanes), "int32", lanes)
        for part in (fraction >> places(32), (fraction & places(0xFFFFFFFF)) >> places(1))
    )
    exact = as_float(upper, lanes) + as_float(lower, lanes) * constant(2.0**-31, lanes)
    rest = exact * constant(_QUARTER * 2.0**-32, lanes)
    return cast(reinterpret(let(quarter), "int64", lanes), "int32", lanes), rest


def asin(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """The angle of a sine; NaN beyond 1."""
    size = let(absolute(x, lanes))
    far, part = _arc(mk, size, lanes)
    doubled = approximate_fma(mk, part, constant(-2.0, lanes), constant(_QUARTER, lanes), lanes)
    return turned(select(far, doubled, part), sign_bit(x, lanes), lanes)


def acos(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """The angle of a cosine; NaN beyond 1."""
    far, part = _arc(mk, let(absolute(x, lanes)), lanes)
    below = x < constant(0.0, lanes)
    doubled = let(part + part)
    beyond = select(below, constant(math.pi, lanes) - doubled, doubled)
    signed = turned(part, sign_bit(x, lanes), lanes)
    # π/2 in two parts: near 0 it is all there is.
    near = constant(_HALF_PI[0], lanes) - (signed - constant(_HALF_PI[1], lanes))
    return select(far, beyond, near)


def _arc(mk: MicroKernel, size: Expr, lanes: int) -> tuple[Expr, Expr]:
    """Whether |x| is above ½; its arcus sinus, or where it is the one of √((1 - |x|) / 2)."""
    half = constant(0.5, lanes)
    far = size > half
    square = let(select(far, (constant(1.0, lanes) - size) * half, size * size))
    root = llvm("llvm.sqrt", vector("float32", lanes), square)
    base = let(select(far, root, size))
    terms = polynomial(mk, square, _ASIN, lanes)
    return far, let(approximate_fma(mk, base * square, terms, base, lanes))


def atan(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """The angle of a tangent."""
    size, one = let(absolute(x, lanes)), constant(1.0, lanes)
    far = size > constant(math.tan(3 * math.pi / 8), lanes)
    middle = size > constant(math.tan(math.pi / 8), lanes)
    # Around 1 the angle from π/4 on, and beyond the one to π/2.
    above = select(far, -one, select(middle, size - one, size))
    below = select(far, size, select(middle, size + one, one))
    ratio = let(above / below)
    square = let(ratio * ratio)
    rest = approximate_fma(mk, ratio * square, polynomial(mk, square, _ATAN, lanes), ratio, lanes)
    begins = [constant(angle, lanes) for angle in (_QUARTER, _QUARTER / 2, 0.0)]
    begin = select(far, begins[0], select(middle, begins[1], begins[2]))
    return turned(begin + rest, sign_bit(x, lanes), lanes)
