"""Numbers as rows that hold one value at the place they name, and another one everywhere else."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.take import nearest_place
from edgekiln.compiler.kernels.tir import divmod_, for_vectors, let, loop, store, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, cast, load, select, splat


@dataclass(frozen=True, kw_only=True)
class OneHotKernel:
    """Computes y[o, k, i] = on if index[o, i] = k, else off, for `depth` places k.

    Args:
        dtype: of y, of which `on` and `off` are codes or values.
        index: the type of the numbers, int32 or int64.
    """

    outer: int
    depth: int
    inner: int
    on: float
    off: float
    dtype: str
    index: str

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, on=0.0, off=0.0)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        planes = self.outer * self.depth
        with KernelBuilder() as k:
            index = k.tensor(self.outer * self.inner, self.index)
            values = k.constant(np.array([self.on, self.off]).astype(self.dtype))
            y = k.tensor(planes * self.inner, self.dtype)
            with loop(*k.items(self.outer if self.inner == 1 else planes)) as item:
                if self.inner == 1:
                    self._row(mk, index, values, y, item)
                else:
                    self._plane(mk, index, values, y, item)
        return k.finish()

    def _row(self, mk: MicroKernel, index: Buffer, values: Buffer, y: Buffer, item: Expr) -> None:
        """One number's row: filled, and then the one place."""
        first = let(item * self.depth)
        widths = mk.lanes if self.dtype == "float32" else mk.byte_lanes
        off = let(load(values, 1))
        for_vectors(
            self.depth, widths, lambda at, lanes: store(y, first + at, splat(off, lanes), lanes)
        )
        given = let(load(index, item))
        place = nearest_place(given, self.depth, self.index)
        with when(place == given):
            store(y, first + cast(place, "int32"), load(values, 0))

    def _plane(self, mk: MicroKernel, index: Buffer, values: Buffer, y: Buffer, item: Expr) -> None:
        """One place of the numbers that lie side by side."""
        block, place = divmod_(item, self.depth)
        numbers, to = let(block * self.inner), let(item * self.inner)
        wanted = let(cast(place, self.index))
        on, off = (let(load(values, at)) for at in (0, 1))

        def body(at: Index, lanes: int) -> None:
            same = load(index, numbers + at, lanes) == splat(wanted, lanes)
            store(y, to + at, select(same, splat(on, lanes), splat(off, lanes)), lanes)

        for_vectors(self.inner, tuple(n for n in mk.lanes if n <= mk.register), body)
