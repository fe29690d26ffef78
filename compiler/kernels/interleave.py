"""Channels of several images taken in turn: the channel shuffle, with what it concatenates.

x₀:  a b c …  ┐
              ├─▶  y:  a A b B c C …
x₁:  A B C …  ┘
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, for_vectors, let, loop, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, cast, const, load, shuffle


@dataclass(frozen=True, kw_only=True, eq=False)
class InterleaveKernel:
    """Computes y[…, i·G + j] = tables[j][xs[j][…, starts[j] + i]], G being the number of images.

    Args:
        xs: images of one size.
        starts: first channel of each that is taken.
        tables: codes of y by the codes of each, lowest first; None where they are y's already.
    """

    xs: tuple[Nhwc, ...]
    y: Nhwc
    starts: tuple[int, ...]
    tables: tuple[NDArray[np.generic] | None, ...]

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        xs = tuple(x.unscaled for x in self.xs)
        tables = tuple(None if table is None else np.zeros_like(table) for table in self.tables)
        return replace(self, xs=xs, y=replace(self.y, scale=1.0), tables=tables)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        # As many parts as images are shuffled into one vector.
        groups = len(self.xs)
        widths = tuple(width // groups for width in mk.byte_lanes if width % groups == 0)
        with KernelBuilder() as k:
            xs = [k.tensor(x.elements, x.dtype) for x in self.xs]
            tables = [None if t is None else k.constant(mk.pack_table(t)) for t in self.tables]
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, cast(const(self.y.zero_point), self.y.dtype))
                buffers, count, last = (xs, tables, y), self.y.c // groups, self.y.w - 1
                # All but the last pixel may write into the next one, which is written after it.
                # So one wide vector may do for several narrow ones.
                fitting = (width for width in widths if count <= width <= 2 * count)
                over = min(fitting, default=count)
                with loop(0, last) as w:
                    self._pixel(mk, buffers, (n, h, w), over, widths)
                self._pixel(mk, buffers, (n, h, last), count, widths)
        return k.finish()

    def _pixel(
        self, mk: MicroKernel, buffers: tuple[list[Buffer], list[Buffer | None], Buffer],
        at: tuple[Index, Index, Index], count: int, widths: tuple[int, ...],
    ) -> None:  # fmt: skip
        """Emit a pixel: `count` channels of each image, which may be more than are wanted."""
        xs, tables, y = buffers
        groups = len(xs)
        # Where the first channel wanted of each image is.
        sources = [let(x.index(*at, start)) for x, start in zip(self.xs, self.starts, strict=True)]
        to = let(self.y.index(*at, 0))

        def codes(x: Buffer, table: Buffer | None, at: Index, lanes: int) -> Expr:
            # What has y's codes already needs no table.
            own = load(x, at, lanes)
            return own if table is None else mk.lookup(table, own, lanes)

        def body(i: Index, lanes: int) -> None:
            parts = [
                codes(x, table, source + i, lanes)
                for x, table, source in zip(xs, tables, sources, strict=True)
            ]
            if lanes == 1:
                for j, part in enumerate(parts):
                    store(y, to + i * groups + j, part)
                return
            order = [j * lanes + lane for lane in range(lanes) for j in range(groups)]
            store(y, to + i * groups, shuffle(parts, order), lanes * groups)

        for_vectors(count, widths, body)
