"""Transpositions in registers: squares of values, the rows of which lie side by side in x and the
columns in y.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekiln.compiler.kernels.copy_axes import Axis
from edgekiln.compiler.kernels.tir import let, loop, store
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    const,
    load,
    minimum,
    select,
    shuffle,
)

# Two registers of so many bytes are interleaved by an instruction wherever there are vectors.
_REGISTER_BYTES = 16
_LEAST_BYTES = 4  # of fewer, vectors are no gain


@dataclass(frozen=True, kw_only=True)
class Squares:
    """Two axes of a copy: along `rows` values lie side by side in x, along `columns` in y.

    Args:
        others: the other axes.
        outermost: no other axis lies farther apart in y than the rows do.
        side: values of a square on either axis, a power of two.
    """

    rows: Axis
    columns: Axis
    others: list[Axis]
    outermost: bool
    side: int

    @property
    def items(self) -> int:
        """Work items that share the rows: the last one has those that make no whole square, too."""
        return self.rows[0] // self.side

    def places(
        self, axis: Axis, body: Callable[[Expr], None], share: tuple[Expr, Expr] | None = None
    ) -> None:
        """Run `body` at the first value of each square along an axis. The last square overlaps its
        predecessor, which changes nothing.

        Args:
            share: the items of `items` whose squares are wanted; None: all are.
        """
        count = axis[0]
        number = -(-count // self.side)
        begin, end = share or (const(0), const(number))
        if share is not None and number > self.items:
            end = select(end == self.items, const(number), end)
        with loop(begin, end) as square:
            place = square * self.side
            body(let(place if count % self.side == 0 else minimum(place, count - self.side)))

    def move(
        self, value: Callable[[Expr], Expr], x: Buffer, y: Buffer, source: Index, to: Index
    ) -> None:
        """Move the square that begins at a place of x and of y; `value` is of a vector."""
        step = self.columns[1]
        read = [let(value(load(x, source + i * step, self.side))) for i in range(self.side)]
        step = self.rows[2]
        for i, column in enumerate(transposed(read)):
            store(y, to + i * step, column, self.side)


def squares(
    mk: MicroKernel, axes: Sequence[Axis], widths: Sequence[int], size: int
) -> Squares | None:
    """The squares in which values of `size` bytes are moved; None where they are no gain.

    Args:
        axes: in the order of y's memory.
        widths: values that a vector may have.
    """
    *outer, columns = axes
    rows = next((axis for axis in outer if axis[1] == 1), None)
    if not mk.interleaves or rows is None or columns[2] != 1:
        return None
    most = min(rows[0], columns[0], _REGISTER_BYTES // size)
    side = max((width for width in widths if width <= most and width.bit_count() == 1), default=1)
    if side == 1 or side * size < _LEAST_BYTES:
        return None
    others = [axis for axis in outer if axis is not rows]
    return Squares(rows=rows, columns=columns, others=others, outermost=rows is outer[0], side=side)


def transposed(rows: Sequence[Expr]) -> list[Expr]:
    """The columns of a square.

    Interleaving each row of the upper half with one of the lower half moves a bit of a value's row
    number to its column number, and one the other way: after a round for each bit they have changed
    places.
    """
    side = len(rows)
    low = [lane // 2 + lane % 2 * side for lane in range(side)]
    high = [place + side // 2 for place in low]
    columns = list(rows)
    for _ in range(side.bit_length() - 1):
        pairs = zip(columns[: side // 2], columns[side // 2 :], strict=True)
        columns = [let(shuffle(pair, order)) for pair in pairs for order in (low, high)]
    return columns
