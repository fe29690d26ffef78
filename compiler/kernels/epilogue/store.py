"""Stores a vector of which not every lane is a result."""

from edgekiln.compiler.kernels.tir import register, store
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, load


def store_lanes(out: Buffer, index: Index, value: Expr, dtype: str, lanes: int, valid: int) -> None:
    """Store the first `valid` lanes of a vector and touch nothing behind them."""
    if valid == lanes:
        store(out, index, value, lanes)
        return
    # By way of the stack, in as few stores as there are bits in `valid`.
    scratch = register(dtype, lanes)
    store(scratch, 0, value, lanes)
    done, width = 0, lanes
    while done < valid:
        if width <= valid - done:
            store(out, index + done, load(scratch, done, width), width)
            done += width
        width //= 2
