"""The halo of an output: whoever writes a row writes its border, too."""

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.tir import divmod_, for_vectors, let, loop, store, when
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, splat


def assert_covered(
    x: Nhwc,
    out: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int],
    dilations: tuple[int, int] = (1, 1),
) -> None:
    """Assert that no window of `out` positions leaves the image and its border: kernels do not
    look.
    """
    for axis, (extent, before, after) in enumerate(
        ((x.h, x.halo.top, x.halo.bottom), (x.w, x.halo.left, x.halo.right))
    ):
        # The last tap of the last window on this axis.
        last = (out[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] - pads[axis]
        assert pads[axis] <= before, f"padding {pads} but a border of {x.halo}"
        assert last < extent + after, f"the last window ends at {last} of {extent} + {x.halo}"


def fill_border(mk: MicroKernel, out: Buffer, y: Nhwc, n: Index, h: Index, zero: Expr) -> None:
    """Fill the border next to row h of image n: its left and right ends, and, with the first and
    the last row, the rows above and below.

    Args:
        zero: the zero point, one element of `out`'s type.
    """
    halo = y.halo
    if halo.left:
        _fill(mk, out, y.index(n, h, -halo.left, 0), halo.left * y.c, zero)
    if halo.right:
        _fill(mk, out, y.index(n, h, y.w, 0), halo.right * y.c, zero)
    # Rows above the first one and below the last one, with their corners.
    for rows, edge, first in ((halo.top, 0, -halo.top), (halo.bottom, y.h - 1, y.h)):
        if rows:
            with when(h == edge):
                _fill(mk, out, y.index(n, first, -halo.left, 0), rows * y.row, zero)


def _fill(mk: MicroKernel, out: Buffer, start: Index, count: int, zero: Expr) -> None:
    """Fill `count` elements side by side."""
    base = let(start)
    for_vectors(
        count, mk.byte_lanes, lambda at, lanes: store(out, base + at, splat(zero, lanes), lanes)
    )


def fill_share(
    mk: MicroKernel, out: Buffer, y: Nhwc, share: tuple[Expr, Expr, int], zero: Expr
) -> None:
    """Fill the border next to as large a share of the rows as a call has of the items, for kernels
    whose items are no rows.

    Args:
        share: the call's first item, the one behind its last, and how many there are.
    """
    if not y.halo:
        return
    begin, end, work = share
    # Shares of rows that differ by one at most, and together are all rows.
    first, last = (divmod_(at * (y.n * y.h), work)[0] for at in (begin, end))
    with loop(first, last) as row:
        n, h = divmod_(row, y.h)
        fill_border(mk, out, y, n, h, zero)
