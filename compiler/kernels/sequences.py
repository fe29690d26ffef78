"""What a sequence of classes says."""

from dataclasses import dataclass
from typing import Self

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import let, loop, register, store, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import cast, const, load, select


@dataclass(frozen=True, kw_only=True)
class CtcCollapseKernel:
    """y[o, :]: the classes x[o, :] without repetitions, and then without the blank; -1 behind.

    Args:
        outer, steps: the axes of x and y, int64.
    """

    outer: int
    steps: int
    blank: int

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # the same on every chip
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.outer * self.steps, "int64")
            y = k.tensor(self.outer * self.steps, "int64")
            with loop(*k.items(self.outer)) as item:
                first = let(item * self.steps)
                count, before = register("int32", 1), register("int32", 1)
                store(count, 0, const(0))
                store(before, 0, const(-1))
                with loop(0, self.steps) as step:
                    symbol = let(cast(load(x, first + step), "int32"))
                    differs = select(symbol == load(before, 0), const(0), const(1))
                    said = let(select(symbol == const(self.blank), const(0), differs))
                    with when(said > const(0)):
                        store(y, first + load(count, 0), cast(symbol, "int64"))
                        store(count, 0, load(count, 0) + 1)
                    store(before, 0, symbol)
                with loop(0, self.steps) as step, when(step >= load(count, 0)):
                    store(y, first + step, const(-1, "int64"))
        return k.finish()
