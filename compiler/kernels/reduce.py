"""Reductions of floats along one axis: sums, products, largest and smallest values.

Their bits are the same on every chip, whatever its vectors. Values side by side are combined in
sixteen partial results, of which the i-th has x[i], x[i + 16], …; those behind the last whole
sixteen come last, the last value to the last partial result. Then the halves of the partial
results are combined, i and i + 8, i and i + 4, i and i + 2, i and i + 1. Fewer than sixteen values,
and values that do not lie side by side, are combined one after the other.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.reduce_ops import Reduction
from edgekiln.compiler.kernels import float_bits
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.function import apply, of_two
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, from_lane, let, loop, register, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    const,
    float_const,
    load,
    maximum,
    minimum,
    select,
    shuffle,
)

PARTIALS = 16  # of values side by side
_VECTORS = 4  # of columns at once, and of what is compared
# What changes no result; of a sum even negative zero stays one.
_NEUTRAL: dict[Reduction, float] = {
    "max": float("-inf"), "min": float("inf"), "prod": 1.0, "sum": -0.0,
}  # fmt: skip

_ARITHMETIC: dict[str, Callable[[Expr, Expr], Expr]] = {"prod": operator.mul, "sum": operator.add}

_Term = Callable[[Index, int], Expr]  # so many values from a place on


@dataclass(frozen=True, kw_only=True)
class ReduceKernel:
    """Computes y[o, i] = after(⊕ before(x[o, :, i])) of float32; NaN where one of them is NaN.

    Args:
        outer, extent, inner: the axes of x.
    """

    outer: int
    extent: int
    inner: int
    reduction: Reduction
    before: Function = ()
    after: Function = ()

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        lanes = next((width for width in mk.lanes if width <= self.inner), 1)
        columns = lanes * min(_VECTORS, self.inner // lanes)
        blocks = -(-self.inner // columns)
        with KernelBuilder() as k:
            x = k.tensor(self.outer * self.extent * self.inner, "float32")
            y = k.tensor(self.outer * self.inner, "float32")
            with loop(*k.items(self.outer * blocks)) as item:
                if self.inner == 1:
                    result = self._row(mk, x, let(item * self.extent))
                    store(y, item, apply(mk, self.after, result, 1))
                else:
                    block, part = divmod_(item, blocks)
                    # The last columns overlap those before them, which changes nothing.
                    first = let(minimum(part * columns, const(self.inner - columns)))
                    self._columns(mk, (x, y), (block, first), columns, lanes)
        return k.finish()

    def _columns(
        self, mk: MicroKernel, buffers: tuple[Buffer, Buffer], at: tuple[Expr, Index],
        columns: int, lanes: int,
    ) -> None:  # fmt: skip
        """Store the results of neighbouring columns from (block, column) on, value after value."""
        (x, y), (block, first) = buffers, at
        source = let(block * (self.extent * self.inner) + first)
        kept = [register("float32", lanes) for _ in range(columns // lanes)]

        def value(row: Index, place: int) -> Expr:
            x_at = source + row * self.inner + place * lanes
            return self._value(mk, x, x_at, lanes)

        for place, partial in enumerate(kept):
            store(partial, 0, value(0, place), lanes)
        if self.extent > 1:
            with loop(1, self.extent) as row:
                for place, partial in enumerate(kept):
                    self._add(mk, partial, value(row, place), lanes)
        for place, partial in enumerate(kept):
            result = apply(mk, self.after, load(partial, 0, lanes), lanes)
            store(y, block * self.inner + first + place * lanes, result, lanes)

    def _value(self, mk: MicroKernel, x: Buffer, at: Index, lanes: int) -> Expr:
        """What is combined. A square is rounded before it is added, on any chip."""
        value = apply(mk, self.before, load(x, at, lanes), lanes)
        return float_bits.exactly(value, lanes) if self.before else value

    def _row(self, mk: MicroKernel, x: Buffer, at: Index) -> Expr:
        """The result of the values that lie side by side from `at` on, before `after`."""

        def term(i: Index, lanes: int) -> Expr:
            return self._value(mk, x, at + i, lanes)

        partials, lanes = self._partials(mk)
        if self.extent < partials:
            partials, lanes = 1, 1
        vectors = self._vectors(mk, term, partials, lanes)
        while len(vectors) > 1:
            half = len(vectors) // 2
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [self._halved(mk, a, b, lanes) for a, b in pairs]
        (result,) = vectors
        while lanes > 1:
            lanes //= 2
            low, high = (shuffle([result], range(at, at + lanes)) for at in (0, lanes))
            result = self._halved(mk, low, high, lanes)
        return result

    def _halved(self, mk: MicroKernel, a: Expr, b: Expr, lanes: int) -> Expr:
        """Combine two halves, by way of memory: TVM puts an expression wherever its name stands,
        and three of each in the next one, which takes minutes.
        """
        made = register("float32", lanes)
        store(made, 0, self._combined(mk, a, b, lanes), lanes)
        return load(made, 0, lanes)

    def _partials(self, mk: MicroKernel) -> tuple[int, int]:
        """How many partial results a row has, and how many of them are a vector."""
        lanes = next((width for width in mk.lanes if width <= min(PARTIALS, self.extent)), 1)
        # What is compared comes out the same in any order.
        many = lanes > 1 and self.reduction in ("max", "min") and self.extent >= _VECTORS * lanes
        return (_VECTORS * lanes if many else PARTIALS), lanes

    def _vectors(self, mk: MicroKernel, term: _Term, partials: int, lanes: int) -> list[Expr]:
        """The partial results of a row of at least as many values."""
        places = range(0, partials, lanes)
        kept = [register("float32", lanes) for _ in places]
        for partial, place in zip(kept, places, strict=True):
            store(partial, 0, term(place, lanes), lanes)
        whole, rest = divmod(self.extent, partials)
        if whole > 1:
            with loop(1, whole) as i:
                start = let(i * partials)
                for partial, place in zip(kept, places, strict=True):
                    self._add(mk, partial, term(start + place, lanes), lanes)
        for partial, place in zip(kept, places, strict=True):
            had = partials - rest - place  # lanes whose value here was combined already
            if had >= lanes:
                continue
            value = term(self.extent - partials + place, lanes)
            if had > 0:
                value = from_lane(had, value, float_const(_NEUTRAL[self.reduction]), lanes)
            self._add(mk, partial, value, lanes)
        return [let(load(partial, 0, lanes)) for partial in kept]

    def _add(self, mk: MicroKernel, partial: Buffer, value: Expr, lanes: int) -> None:
        """Combine a partial result with one more value in each lane."""
        store(partial, 0, self._combined(mk, load(partial, 0, lanes), value, lanes), lanes)

    def _combined(self, mk: MicroKernel, a: Expr, b: Expr, lanes: int) -> Expr:
        if self.reduction in _ARITHMETIC:
            return _ARITHMETIC[self.reduction](a, b)
        if mk.group:
            return of_two("Max" if self.reduction == "max" else "Min", a, b, lanes)
        # Fewer instructions than the larger one that is NaN where either is: an `a` that is NaN
        # stays, for it is the second operand.
        b = let(b)
        better = maximum(b, a) if self.reduction == "max" else minimum(b, a)
        return select(float_bits.is_nan(b, lanes), b, better)
