"""Ranges that are found when the program runs: what ONNX's DynamicQuantizeLinear divides by.

A range is two floats: the scale of codes and their zero point.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.fold import Combine, fold
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, let, loop, register, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    float_const,
    load,
    maximum,
    minimum,
    select,
    splat,
)

_MOST_CODE = 255.0


@dataclass(frozen=True, kw_only=True)
class ExtremesKernel:
    """y[2·row], y[2·row + 1] = the least and the greatest of a row and of 0. NaN is no value.

    Args:
        x: float32.
    """

    x: Nhwc

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @property
    def rows(self) -> int:
        """How many pairs it makes."""
        return self.x.n * self.x.h

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, "float32")
            y = k.tensor(2 * self.rows, "float32")
            with loop(*k.items(self.rows)) as row:
                n, h = divmod_(row, self.x.h)
                first = let(self.x.index(n, h, 0, 0))
                for place, nearer in enumerate((minimum, maximum)):
                    store(y, row * 2 + place, self._extreme(mk, x, first, nearer))
        return k.finish()

    def _extreme(self, mk: MicroKernel, x: Buffer, first: Index, nearer: Combine) -> Expr:
        def term(at: Index, lanes: int) -> Expr:
            # The second operand is what is left where the first is NaN.
            return let(nearer(load(x, first + at, lanes), splat(float_const(0.0), lanes)))

        count = self.x.w * self.x.c
        return fold(mk.lanes, count, "float32", float_const(0.0), term, nearer)


@dataclass(frozen=True, kw_only=True)
class RangeKernel:
    """The range of the least and the greatest of all rows, as ONNX Runtime computes it:

        scale = (greatest - least) / 255, or 1 where that is 0;  zero point = -least / scale

    The zero point is clipped to 0..255 and rounded half to even.
    """

    rows: int

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(2 * self.rows, "float32")
            y = k.tensor(2, "float32")
            k.no_items()
            kept = register("float32", 2)
            for place in range(2):
                store(kept, place, load(x, place))
            with loop(0, self.rows) as row:
                for place, nearer in enumerate((minimum, maximum)):
                    value = nearer(load(x, row * 2 + place), load(kept, place))
                    store(kept, place, value)
            self._emit(mk, y, let(load(kept, 0)), let(load(kept, 1)))
        return k.finish()

    def _emit(self, mk: MicroKernel, y: Buffer, least: Expr, greatest: Expr) -> None:
        most, none = float_const(_MOST_CODE), float_const(0.0)
        width = let(greatest - least)
        scale = let(select(greatest > least, width / most, float_const(1.0)))
        steps = let(none - let(least / scale))
        # Of a width that is infinite, or too small for a scale, it is NaN, and the highest code.
        zero = let(maximum(let(minimum(steps, most)), none))
        store(y, 0, scale)
        store(y, 1, cast(mk.round_to_int(zero, 1), "float32"))


@dataclass(frozen=True, kw_only=True)
class GivenRangeKernel:
    """A range of a scale and a zero point.

    Args:
        scale, zero: those that are known; None for an operand.
        dtype: of the zero point.
    """

    scale: float | None
    zero: int | None
    dtype: str = "uint8"

    @property
    def erased(self) -> Self:
        """The kernel itself: the few there are share no code."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # two numbers on every chip
        """Build the kernel."""
        with KernelBuilder() as k:
            scale = k.tensor(1, "float32") if self.scale is None else None
            zero = k.tensor(1, self.dtype) if self.zero is None else None
            known = k.constant(np.array([self.scale or 0.0, self.zero or 0], np.float32))
            y = k.tensor(2, "float32")
            k.no_items()
            store(y, 0, load(known, 0) if scale is None else load(scale, 0))
            store(y, 1, load(known, 1) if zero is None else cast(load(zero, 0), "float32"))
        return k.finish()


@dataclass(frozen=True, kw_only=True)
class RangePartKernel:
    """The scale of a range, or its zero point as uint8."""

    zero: bool

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in memory."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # one number on every chip
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(2, "float32")
            y = k.tensor(1, "uint8" if self.zero else "float32")
            k.no_items()
            value = load(x, int(self.zero))
            store(y, 0, cast(cast(value, "int32"), "uint8") if self.zero else value)
        return k.finish()
