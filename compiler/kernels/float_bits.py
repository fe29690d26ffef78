"""What the bits of a float32 say: its sign, its size, its whole part. Negative zeros, infinities
and NaN are what they are.
"""

import math

from edgekiln.compiler.kernels.tir import let, register, store
from edgekiln.targets.isa.expressions import (
    Expr,
    cast,
    const,
    float_const,
    load,
    minimum,
    reinterpret,
    rounded,
    select,
    splat,
)

MANTISSA_BITS = 23
EXPONENT_BIAS = 127
_SIGN, _SIZE = -(2**31), 2**31 - 1
_INFINITE = 0x7F800000
_WHOLE = 2.0**MANTISSA_BITS  # every number from here on is whole


def constant(value: float, lanes: int) -> Expr:
    """A number in every lane."""
    return splat(float_const(value), lanes)


def opaque(value: float, lanes: int) -> Expr:
    """A number in every lane, of which TVM does not see that it is 0: by its rules 0 times all is
    0, of NaN and infinities, too, and what is added to 0 keeps its sign.
    """
    number = constant(value, lanes)
    return number if value else rounded(number, lanes)


def word(value: int, lanes: int) -> Expr:
    """An int32 in every lane."""
    return splat(const(value), lanes)


def bits(x: Expr, lanes: int) -> Expr:
    """The bits of float32, as int32. By way of a variable, of which a GPU's language takes them."""
    return reinterpret(let(x), "int32", lanes)


def of_bits(value: Expr, lanes: int) -> Expr:
    """The float32 with an int32's bits."""
    return reinterpret(let(value), "float32", lanes)


def infinite(lanes: int) -> Expr:
    """The value beyond all numbers."""
    return constant(math.inf, lanes)


def nan(lanes: int) -> Expr:
    """A value that is no number."""
    return constant(math.nan, lanes)


def exactly(value: Expr, lanes: int) -> Expr:
    """A rounded value, whatever it is made of. By way of memory, into which TVM does not look: it
    takes floats for numbers, by whose rules what rounding takes away is 0, and looks for long.
    LLVM, which may fuse a product and a sum, makes it a register again.
    """
    variable = register("float32", lanes)
    store(variable, 0, rounded(value, lanes), lanes)
    return let(load(variable, 0, lanes))


def size_bits(x: Expr, lanes: int) -> Expr:
    """The bits of |x|: larger for larger numbers, and largest for NaN."""
    return bits(x, lanes) & word(_SIZE, lanes)


def absolute(x: Expr, lanes: int) -> Expr:
    """Return |x|."""
    return of_bits(size_bits(x, lanes), lanes)


def sign_bit(x: Expr, lanes: int) -> Expr:
    """The bit that says whether x is below 0, or negative zero."""
    return bits(x, lanes) & word(_SIGN, lanes)


def turned(x: Expr, sign: Expr, lanes: int) -> Expr:
    """`x`, or -x where the bit of the sign is set."""
    return of_bits(bits(x, lanes) ^ sign, lanes)


def difference(a: Expr, b: Expr, lanes: int) -> Expr:
    """Return a - b, as a sum with b's sign turned, which LLVM makes a difference again: by TVM's
    rules for numbers x - x is 0, of NaN, too, and (x + c) - c is x, with the digits that c took.
    """
    return a + turned(b, word(_SIGN, lanes), lanes)


def is_nan(x: Expr, lanes: int) -> Expr:
    """Whether x is no number."""
    return size_bits(x, lanes) > word(_INFINITE, lanes)


def is_finite(x: Expr, lanes: int) -> Expr:
    """Whether x is a number, and no infinity."""
    return size_bits(x, lanes) < word(_INFINITE, lanes)


def round_half_even(x: Expr, lanes: int) -> Expr:
    """The nearest whole number, the even one of two: adding 2²³ rounds, as the processor does. No
    call into libm, which `nearbyint` becomes on chips without the instruction.
    """
    size, far = let(absolute(x, lanes)), constant(_WHOLE, lanes)
    raised = exactly(minimum(far, size) + far, lanes)
    whole = turned(raised - far, sign_bit(x, lanes), lanes)
    return select(size < far, whole, x)


def floor(x: Expr, lanes: int) -> Expr:
    """The largest whole number that is not above x."""
    near = let(round_half_even(x, lanes))
    below = select(near > x, constant(1.0, lanes), constant(0.0, lanes))
    # A difference of 0 loses its sign.
    return turned(absolute(near - below, lanes), sign_bit(x, lanes), lanes)


def ceil(x: Expr, lanes: int) -> Expr:
    """The smallest whole number that is not below x."""
    near = let(round_half_even(x, lanes))
    above = select(near < x, constant(1.0, lanes), constant(0.0, lanes))
    return turned(absolute(near + above, lanes), sign_bit(x, lanes), lanes)


def scaled(x: Expr, n: Expr, lanes: int) -> Expr:
    """Return x·2ⁿ for |n| ≤ 250, by two powers of two that are numbers both."""
    n = let(n)
    half = let(n >> word(1, lanes))
    return x * _power_of_two(half, lanes) * _power_of_two(n - half, lanes)


def _power_of_two(exponent: Expr, lanes: int) -> Expr:
    biased = exponent + word(EXPONENT_BIAS, lanes)
    return of_bits(biased << word(MANTISSA_BITS, lanes), lanes)


def exponent_and_mantissa(x: Expr, lanes: int) -> tuple[Expr, Expr]:
    """n (int32) and m of x = 2ⁿ·m with m in [√½, √2), for a positive and finite x."""
    small = x < constant(2.0**-126, lanes)  # of fewer digits than others: 2²³ gives it all
    raised = select(small, x * constant(2.0**23, lanes), x)
    # From √½ on, so that the mantissa is near 1.
    root = 0x3F3504F3
    above = let(bits(raised, lanes) - word(root, lanes))
    exponent = let(above >> word(MANTISSA_BITS, lanes))
    mantissa = (above & word(2**MANTISSA_BITS - 1, lanes)) + word(root, lanes)
    moved = select(small, word(MANTISSA_BITS, lanes), word(0, lanes))
    return let(exponent - moved), let(of_bits(mantissa, lanes))


def as_float(value: Expr, lanes: int) -> Expr:
    """An int32 as float32."""
    return cast(value, "float32", lanes)
