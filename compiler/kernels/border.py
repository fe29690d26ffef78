"""The halo of an output: whoever writes a row writes its border too."""

from edgekiln.compiler.kernels.spec import Nhwc
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    bind,
    for_vectors,
    store,
    when,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, splat

# Bytes per store, widest first.
_WIDTHS = (64, 32, 16, 8, 4)


def fill_border(out: Buffer, y: Nhwc, n: Index, h: Index, zero: Expr) -> None:
    """Fill the border next to row h of image n: its left and right ends, and, with the first and
    the last row, the rows above and below.

    Args:
        zero: the zero point, one element of `out`'s type.
    """
    halo = y.halo
    if halo.left:
        _fill(out, y.index(n, h, -halo.left, 0), halo.left * y.c, zero)
    if halo.right:
        _fill(out, y.index(n, h, y.w, 0), halo.right * y.c, zero)
    for rows, edge, first in ((halo.top, 0, -halo.top), (halo.bottom, y.h - 1, y.h)):
        if rows:
            with when(h == edge):
                _fill(out, y.index(n, first, -halo.left, 0), rows * y.row, zero)


def _fill(out: Buffer, start: Index, count: int, zero: Expr) -> None:
    base = bind(start)
    for_vectors(count, _WIDTHS, lambda at, lanes: store(out, base + at, splat(zero, lanes), lanes))
