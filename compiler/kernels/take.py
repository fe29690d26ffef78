"""Rows taken by numbers that are known at run time: embeddings, and what else Gather does."""

from dataclasses import dataclass
from typing import Self

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, for_vectors, let, loop, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    load,
    maximum,
    minimum,
    select,
)


def row_of(
    index: Buffer, place: Index, rows: int, dtype: str, *, last_is_other: bool = False
) -> Expr:
    """The row that a number at a place names, int32.

    A negative number counts from the end. One that names no row takes the nearest: whatever a
    program is given, it reads no other memory.

    Args:
        last_is_other: numbers, negative ones too, that name no row before the last one take that.
    """
    # In the numbers' own type: those of 64 bits may be far outside.
    given = let(load(index, place))
    if last_is_other:
        nearest = nearest_place(given, rows - 1, dtype)
        return cast(select(nearest == given, given, cast(const(rows - 1), dtype)), "int32")
    zero, last = (cast(const(n), dtype) for n in (0, rows - 1))
    from_end = select(given < zero, given + cast(const(rows), dtype), given)
    return cast(minimum(maximum(from_end, zero), last), "int32")


def nearest_place(given: Expr, count: int, dtype: str) -> Expr:
    """The one of `count` places that is nearest to a number."""
    first, last = (cast(const(n), dtype) for n in (0, count - 1))
    return let(minimum(maximum(given, first), last))


@dataclass(frozen=True, kw_only=True)
class TakeKernel:
    """Moves runs: y[o, i, :] = x[o, index[i], :], for `outer` o and `count` i; see `row_of`.

    Args:
        rows: that x has along the axis.
        inner: values of a row.
        dtype: of x and y.
        index: the type of the numbers, int32 or int64.
        last_is_other: see `row_of`.
    """

    outer: int
    rows: int
    inner: int
    count: int
    dtype: str
    index: str
    last_is_other: bool = False

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.outer * self.rows * self.inner, self.dtype)
            index = k.tensor(self.count, self.index)
            y = k.tensor(self.outer * self.count * self.inner, self.dtype)
            with loop(*k.items(self.outer * self.count)) as item:
                block, place = divmod_(item, self.count)
                row = row_of(index, place, self.rows, self.index, last_is_other=self.last_is_other)
                source = let((block * self.rows + row) * self.inner)
                to = let(item * self.inner)
                widths = mk.lanes if self.dtype == "float32" else mk.byte_lanes
                for_vectors(
                    self.inner, widths,
                    lambda i, lanes: store(y, to + i, load(x, source + i, lanes), lanes),
                )  # fmt: skip
        return k.finish()
