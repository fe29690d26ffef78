"""What a sequence of classes says, and what scores decide from call to call."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import let, loop, register, store, when
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import cast, const, float_const, load, select


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


@dataclass(frozen=True, kw_only=True)
class HysteresisKernel:
    """y[i]: what a score and its state leave, see `ir.sequence_ops.Hysteresis`.

    Args:
        elements: of scores, states and y, float32.
    """

    elements: int
    on: float
    off: float
    steps: int

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, on=0.0, off=0.0, steps=0)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # the same on every chip
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.elements, "float32")
            state = k.tensor(self.elements, "float32")
            limits = k.constant(np.array([self.on, self.off, self.steps], np.float32))
            y = k.tensor(self.elements, "float32")
            zero, one, minus = (float_const(value) for value in (0.0, 1.0, -1.0))
            with loop(*k.items(self.elements)) as item:
                score, old = let(load(x, item)), let(load(state, item))
                on, off, steps = (let(load(limits, place)) for place in range(3))
                is_on = let(select(old < zero, one, zero))
                run = let(select(is_on > zero, minus - old, old))
                falls, rises = select(score < off, one, zero), select(score >= on, one, zero)
                wants = let(select(is_on > zero, falls, rises))
                counted = let(select(wants > zero, run + one, zero))
                flips = let(select(counted >= steps, one, zero))
                left = let(select(flips > zero, zero, counted))
                now_on = let(select(flips > zero, one - is_on, is_on))
                store(y, item, select(now_on > zero, minus - left, left))
        return k.finish()
