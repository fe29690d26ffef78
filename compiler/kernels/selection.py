"""The largest or smallest values of rows: their places, and what lies there."""

from dataclasses import dataclass
from typing import Self

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, let, loop, register, repeat, store, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, cast, const, load, maximum, minimum, select


@dataclass(frozen=True, kw_only=True)
class TopPlacesKernel:
    """y[o, :, i]: the places of the `count` best of x[o, :, i], best first, of equals the first.

    Each is the best of those behind the one before it, so no memory is needed; a row is read
    `count` times.

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
                best, before = register(kind, 1), register(kind, 1)
                found, last = register("int32", 1), register("int32", 1)
                store(last, 0, const(-1))
                store(before, 0, cast(const(0), kind))
                with repeat(self.count) as rank:
                    store(found, 0, const(-1))
                    store(best, 0, cast(const(0), kind))
                    with loop(0, self.extent) as place:
                        value = let(cast(load(x, first + place * self.inner), kind))
                        behind = self._before(load(before, 0), value)
                        tied = select(
                            self._before(value, load(before, 0)), _no(), place > load(last, 0)
                        )
                        better = self._before(value, load(best, 0))
                        with (
                            # The first one of a row stands behind nothing.
                            when(
                                select(
                                    load(last, 0) < const(0), _yes(), select(behind, _yes(), tied)
                                )
                            ),
                            when(select(load(found, 0) < const(0), _yes(), better)),
                        ):
                            store(best, 0, value)
                            store(found, 0, place)
                    # Of a row of NaN none is found.
                    chosen = let(maximum(load(found, 0), const(0)))
                    store(y, to + rank * self.inner, cast(chosen, "int64"))
                    store(last, 0, chosen)
                    store(before, 0, load(best, 0))
        return k.finish()

    def _before(self, a: Expr, b: Expr) -> Expr:
        """Whether `a` is better than `b`."""
        return a > b if self.largest else a < b


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
