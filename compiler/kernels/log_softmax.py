"""LogSoftmax of rows of floats."""

import operator
from dataclasses import dataclass
from typing import Self

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.float_bits import exactly
from edgekiln.compiler.kernels.fold import fold
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.softmax import LOWEST
from edgekiln.compiler.kernels.tir import for_vectors, let, loop, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.kernels.vector_math import exp
from edgekiln.compiler.kernels.vector_powers import log
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, float_const, load, maximum, splat


@dataclass(frozen=True, kw_only=True)
class LogSoftmaxKernel:
    """Computes y = x - max - log Σ exp(x - max) over rows of `count` values side by side."""

    rows: int
    count: int

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.rows * self.count, "float32")
            y = k.tensor(self.rows * self.count, "float32")
            with loop(*k.items(self.rows)) as row:
                self._row(mk, x, y, let(row * self.count))
        return k.finish()

    def _row(self, mk: MicroKernel, x: Buffer, y: Buffer, at: Index) -> None:
        def value(i: Index, lanes: int) -> Expr:
            return load(x, at + i, lanes)

        top = let(fold(mk.lanes, self.count, "float32", float_const(LOWEST), value, maximum))

        def below(i: Index, lanes: int) -> Expr:
            return value(i, lanes) - splat(top, lanes)

        def power(i: Index, lanes: int) -> Expr:
            return exactly(exp(mk, below(i, lanes), lanes), lanes)

        total = fold(mk.lanes, self.count, "float32", float_const(0.0), power, operator.add)
        # By way of memory: TVM puts an expression wherever its name stands, which takes long.
        rest = exactly(log(mk, exactly(total, 1), 1), 1)
        for_vectors(
            self.count,
            mk.lanes,
            lambda i, lanes: store(y, at + i, below(i, lanes) - splat(rest, lanes), lanes),
        )
