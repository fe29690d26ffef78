"""The largest or smallest values of rows: their places, and what lies there."""

from dataclasses import dataclass
from typing import Self

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, let, loop, register, store, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    Index,
    cast,
    const,
    load,
    maximum,
    minimum,
    reinterpret,
    select,
)


@dataclass(frozen=True, kw_only=True)
class TopPlacesKernel:
    """y[o, :, i]: the places of the `count` best of x[o, :, i], best first, of equals the first.
    What is no number is never among them; where too few are, the rest of the places is 0.

    A row is read once. The places found so far lie in y itself, in order: few values of a long row
    are better than the last of them, and only these are put where they belong.

    Args:
        outer, extent, inner: the axes of x.
        dtype: of x, a byte or float32.
    """

    outer: int
    extent: int
    inner: int
    count: int
    dtype: str
    largest: bool

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # value by value on every chip
        """Build the kernel."""
        kind = "float32" if self.dtype == "float32" else "int32"
        with KernelBuilder() as k:
            x = k.tensor(self.outer * self.extent * self.inner, self.dtype)
            y = k.tensor(self.outer * self.count * self.inner, "int64")
            with loop(*k.items(self.outer * self.inner)) as item:
                block, column = divmod_(item, self.inner)
                first = let(block * (self.extent * self.inner) + column)
                to = let(block * (self.count * self.inner) + column)
                worst, filled = register(kind, 1), register("int32", 1)
                store(worst, 0, cast(const(0), kind))
                store(filled, 0, const(0))

                def at(rank: Index) -> Index:
                    return to + rank * self.inner

                def kept(rank: Index) -> Expr:
                    place = cast(load(y, at(rank)), "int32")
                    return cast(load(x, first + place * self.inner), kind)

                with loop(0, self.extent) as place:
                    value = let(cast(load(x, first + place * self.inner), kind))
                    free = load(filled, 0) < const(self.count)
                    better = select(free, _yes(), self._before(value, load(worst, 0)))
                    with when(better), when(self._is_number(value)):
                        last = let(minimum(load(filled, 0), const(self.count - 1)))
                        store(y, at(last), cast(place, "int64"))
                        with loop(0, last) as step:
                            rank = let(last - step)
                            with when(self._before(value, kept(rank - 1))):
                                store(y, at(rank), load(y, at(rank - 1)))
                                store(y, at(rank - 1), cast(place, "int64"))
                        store(filled, 0, last + 1)
                        store(worst, 0, kept(last))
                with loop(load(filled, 0), const(self.count)) as rank:
                    store(y, at(rank), cast(const(0), "int64"))
        return k.finish()

    def _before(self, a: Expr, b: Expr) -> Expr:
        """Whether `a` is better than `b`."""
        return a > b if self.largest else a < b

    def _is_number(self, value: Expr) -> Expr:
        """Whether it is no NaN, by its bits: of floats a comparison would be simplified away."""
        if self.dtype != "float32":
            return _yes()
        return (reinterpret(value, "int32") & const(0x7FFFFFFF)) < const(0x7F800001)


@dataclass(frozen=True, kw_only=True)
class TakeAlongKernel:
    """y[o, j, i] = x[o, places[o, j, i], i]. A place outside takes the nearest."""

    outer: int
    extent: int
    inner: int
    count: int
    dtype: str

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # value by value on every chip
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.outer * self.extent * self.inner, self.dtype)
            places = k.tensor(self.outer * self.count * self.inner, "int64")
            y = k.tensor(self.outer * self.count * self.inner, self.dtype)
            with loop(*k.items(self.outer * self.count * self.inner)) as item:
                rest, column = divmod_(item, self.inner)
                block, _ = divmod_(rest, self.count)
                given = let(cast(load(places, item), "int32"))
                place = minimum(maximum(given, const(0)), const(self.extent - 1))
                store(y, item, load(x, (block * self.extent + place) * self.inner + column))
        return k.finish()


def _yes() -> Expr:
    return const(0) < const(1)


def _no() -> Expr:
    return const(1) < const(0)
