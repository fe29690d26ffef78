"""A fused multiply-add for chips that have none."""

from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    cast,
    const,
    float_const,
    load,
    reinterpret,
    select,
    splat,
)


def multiply_add(a: Expr, b: Expr, c: Expr, lanes: int) -> Expr:
    """Return a·b + c in float32, rounded once.

    float64 holds the product exactly. Their sum is rounded to odd: where it is not exact and its
    last bit is 0, the neighbour on the other side of the exact sum is taken. Of that, which has at
    least two bits more than float32, the second rounding is right (Boldo, Melquiond, "Emulation of
    FMA and correctly rounded sums: proved algorithms using rounding to odd", IEEE Transactions on
    Computers, 2008).
    """

    def kept(value: Expr, dtype: str = "float64") -> Expr:
        return _kept(value, dtype, lanes)

    product = kept(cast(a, "float64", lanes) * cast(b, "float64", lanes))
    summand = kept(cast(c, "float64", lanes))
    total = kept(product + summand)
    # What rounding took away, exactly (Knuth's two-sum); NaN where something is infinite.
    share = kept(total - product)
    of_product = kept(product - kept(total - share))
    rest = kept(of_product + kept(summand - share))
    bits, one = kept(reinterpret(total, "int64", lanes), "int64"), splat(const(1, "int64"), lanes)
    # 1 away from zero, -1 towards it; 0 where the last bit is 1.
    differing = kept(bits ^ reinterpret(rest, "int64", lanes), "int64")
    away = (differing >> splat(const(63, "int64"), lanes)) | one
    odd = kept(bits + (away & ((bits & one) - one)), "int64")
    zero = splat(cast(float_const(0.0), "float64"), lanes)
    exact = select(rest > zero, odd, select(rest < zero, odd, bits))
    return _kept(cast(reinterpret(exact, "float64", lanes), "float32", lanes), "float32", lanes)


def in_float64(a: Expr, b: Expr, c: Expr, lanes: int) -> Expr:
    """Return a·b + c by way of float64, which holds the product exactly."""
    product = _kept(cast(a, "float64", lanes) * cast(b, "float64", lanes), "float64", lanes)
    return _kept(cast(product + cast(c, "float64", lanes), "float32", lanes), "float32", lanes)


def _kept(value: Expr, dtype: str, lanes: int) -> Expr:
    """The value by way of a variable.

    TVM takes floats for numbers, by whose rules what rounding takes away is 0; but it does not look
    into memory. LLVM makes it a register again.
    """
    from tvm.script.ir_builder import tirx as T

    variable: Buffer = T.alloc_buffer((lanes,), dtype, scope="local")
    T.buffer_store(variable, value, [0 if lanes == 1 else T.ramp(0, 1, lanes)])
    return load(variable, 0, lanes)
