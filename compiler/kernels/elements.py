"""Casts, comparisons, logic and choices, element by element, of operands that are broadcast."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

from edgekiln.compiler.ir.element_ops import ElementFunction
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.function import COMPARISONS
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import for_vectors, let, loop, store, unravel
from edgekiln.compiler.kernels.types import Kernel, even_share
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    load,
    select,
    splat,
)

_TRUTH = "uint8"  # what a bool is in memory: 1 or 0
_LOGIC: dict[str, Callable[[Expr, Expr], Expr]] = {
    "And": operator.and_, "Or": operator.or_, "Xor": operator.xor,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Spread:
    """An operand and how it is read: 0 is the stride of an axis along which it is broadcast."""

    dtype: str
    elements: int
    strides: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ElementsKernel:
    """Computes y = function(x, …) by ONNX's definition. What a Cast makes of NaN, and of numbers
    that its type has not, is the processor's.

    Args:
        shape: of y; operands are dense along the last axis, or one value is for all of it.
        xs: what is read.
        dtype: of y.
    """

    function: ElementFunction
    shape: tuple[int, ...]
    xs: tuple[Spread, ...]
    dtype: str

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        *outer, row = self.shape
        share = even_share(row) if not outer else row
        with KernelBuilder() as k:
            xs = [k.tensor(x.elements, _stored(x.dtype)) for x in self.xs]
            y = k.tensor(prod(self.shape), _stored(self.dtype))
            with loop(*k.items(prod(outer) * (row // share))) as item:
                places = unravel(outer, item) if outer else ()
                sources = [
                    let(sum((at * n for at, n in zip(places, x.strides, strict=False)), const(0)))
                    if outer
                    else let(item * share * x.strides[-1])
                    for x in self.xs
                ]
                self._row(mk, (xs, y), sources, let(item * share), share)
        return k.finish()

    def _row(
        self, mk: MicroKernel, buffers: tuple[list[Buffer], Buffer], sources: Sequence[Index],
        to: Index, count: int,
    ) -> None:  # fmt: skip
        """Store the results that lie side by side from `to` on."""
        xs, y = buffers

        def value(number: int, i: Index, lanes: int) -> Expr:
            if self.xs[number].strides[-1]:
                return load(xs[number], sources[number] + i, lanes)
            return splat(load(xs[number], sources[number]), lanes)

        def body(i: Index, lanes: int) -> None:
            operands = [value(number, i, lanes) for number in range(len(xs))]
            store(y, to + i, self._result(operands, lanes), lanes)

        for_vectors(count, mk.lanes, body)

    def _result(self, operands: Sequence[Expr], lanes: int) -> Expr:
        one, zero = (splat(cast(const(number), _TRUTH), lanes) for number in (1, 0))
        if self.function in COMPARISONS:
            return select(COMPARISONS[self.function](*operands), one, zero)
        if self.function in _LOGIC:
            return _LOGIC[self.function](*operands)
        if self.function == "Where":
            condition, yes, no = operands
            return select(condition > zero, yes, no)
        (x,) = operands
        if self.function == "Not":
            return x ^ one
        if self.dtype == "bool":
            nothing = splat(cast(const(0), _stored(self.xs[0].dtype)), lanes)
            return select(x == nothing, zero, one)
        return cast(x, self.dtype, lanes)


def _stored(dtype: str) -> str:
    return _TRUTH if dtype == "bool" else dtype


def merged(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Make neighbouring axes one where every operand goes on from one to the next as before.

    Args:
        strides: of each operand, an entry an axis.
    """
    axes: list[tuple[int, tuple[int, ...]]] = []
    for extent, steps in zip(shape, zip(*strides, strict=True), strict=True):
        if extent == 1:
            continue
        if axes and all(a == b * extent for a, b in zip(axes[-1][1], steps, strict=True)):
            axes[-1] = (axes[-1][0] * extent, steps)
        else:
            axes.append((extent, steps))
    axes = axes or [(1, (0,) * len(strides))]
    by_operand = zip(*(steps for _, steps in axes), strict=True)
    return tuple(extent for extent, _ in axes), tuple(by_operand)
