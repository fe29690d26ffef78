"""Functions of one value: of a code by a lookup table, of a float step by step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.finish import erased_floats
from edgekiln.compiler.kernels.epilogue.floats import NO_CLIP, FloatResult
from edgekiln.compiler.kernels.numbers import NumbersConstant
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, for_vectors, let, loop, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, load


@dataclass(frozen=True, kw_only=True, eq=False)
class LookupKernel:
    """Computes y = table[x], any function of one code.

    Args:
        table: (256,) codes of y by the code of x, lowest first.
    """

    x: Nhwc
    y: Nhwc
    table: NDArray[np.generic]

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        table = np.zeros_like(self.table)
        return replace(self, x=self.x.unscaled, y=self.y.unscaled, table=table)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            table = k.constant(mk.pack_table(self.table))
            numbers = NumbersConstant(k, self.y)
            y = k.tensor(self.y.elements, self.y.dtype)
            items = k.items(self.y.n * self.y.h)
            _emit_rows(
                mk, (self.x, self.y), (x, y), items, mk.byte_lanes, lambda: numbers.zero,
                lambda codes, lanes: mk.lookup(table, codes, lanes),
            )  # fmt: skip
        return k.finish()


@dataclass(frozen=True, kw_only=True)
class MapKernel:
    """Computes y = function(x), element by element, of floats; y may be quantized."""

    x: Nhwc
    y: Nhwc
    function: Function

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, y=erased_floats(self.y))

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, "float32")
            result = FloatResult(self.y, NO_CLIP, self.function)
            result.declare(k)
            y = k.tensor(self.y.elements, self.y.dtype)
            items = k.items(self.y.n * self.y.h)
            _emit_rows(
                mk, (self.x, self.y), (x, y), items, mk.lanes, result.zero,
                lambda values, lanes: result.stored(mk, values, lanes),
            )  # fmt: skip
        return k.finish()


def _emit_rows(
    mk: MicroKernel, tensors: tuple[Nhwc, Nhwc], buffers: tuple[Buffer, Buffer],
    items: tuple[Expr, Expr], widths: tuple[int, ...], zero: Callable[[], Expr],
    value: Callable[[Expr, int], Expr],
) -> None:  # fmt: skip
    """Store `value` of each vector of x in y, row by row, and y's border.

    Args:
        tensors, buffers: x and y.
        zero: what is in y's border.
    """
    (of_x, of_y), (x, y) = tensors, buffers
    with loop(*items) as item:
        # Borders are written with the row that they touch.
        n, h = divmod_(item, of_y.h)
        fill_border(mk, y, of_y, n, h, zero())
        source, to = let(of_x.index(n, h, 0, 0)), let(of_y.index(n, h, 0, 0))

        def body(i: Index, lanes: int) -> None:
            store(y, to + i, value(load(x, source + i, lanes), lanes), lanes)

        for_vectors(of_y.w * of_y.c, widths, body)
