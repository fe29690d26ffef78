"""Codes of which the scale and the zero point are found when the program runs."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.numbers import all_codes
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import divmod_, for_vectors, let, loop, store
from edgekiln.compiler.kernels.types import Kernel, even_share
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.codes import Clip
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, cast, const, load, splat


@dataclass(frozen=True, kw_only=True)
class _OfRange:
    """What reads x and a range, and writes codes with a border of the range's zero point."""

    x: Nhwc
    y: Nhwc

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, x=self.x.unscaled, y=self.y.unscaled)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            range_ = k.tensor(2, "float32")
            # By how much codes are larger here than in the model.
            shift = k.constant(np.array([self.y.zero_point], np.int32))
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.y.n * self.y.h)
            zero = let(cast(load(range_, 1), "int32") + load(shift, 0))
            scale = let(load(range_, 0))
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, cast(zero, self.y.dtype))
                self._row(mk, (x, y), (n, h), scale, zero)
        return k.finish()

    def _row(
        self, mk: MicroKernel, buffers: tuple[Buffer, Buffer], at: tuple[Index, Index],
        scale: Expr, zero: Expr,
    ) -> None:  # fmt: skip
        (x, y), (n, h) = buffers, at
        source, to = let(self.x.index(n, h, 0, 0)), let(self.y.index(n, h, 0, 0))

        def body(i: Index, lanes: int) -> None:
            value = load(x, source + i, lanes)
            store(y, to + i, self._code(mk, value, lanes, scale, zero), lanes)

        for_vectors(self.y.w * self.y.c, self._lanes(mk), body)

    def _lanes(self, mk: MicroKernel) -> tuple[int, ...]:
        raise NotImplementedError

    def _code(self, mk: MicroKernel, value: Expr, lanes: int, scale: Expr, zero: Expr) -> Expr:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RangedQuantizeKernel(_OfRange):
    """y = saturate(round(x / scale) + zero point): a true division. NaN becomes the lowest code."""

    def _lanes(self, mk: MicroKernel) -> tuple[int, ...]:
        return mk.lanes

    def _code(self, mk: MicroKernel, value: Expr, lanes: int, scale: Expr, zero: Expr) -> Expr:
        low, high = (const(bound) for bound in all_codes(self.y.dtype))
        low_steps, high_steps = (cast(bound - zero, "float32") for bound in (low, high))
        steps = value / splat(scale, lanes)
        if self.y.dtype == mk.activation:
            clip = Clip(
                zero=zero, low=low, high=high, low_steps=low_steps, high_steps=high_steps,
                bounded=False, saturating=True,
            )  # fmt: skip
            return mk.quantize(steps, clip, lanes)
        whole = mk.steps(steps, low_steps, high_steps, lanes) + splat(zero, lanes)
        return cast(whole, self.y.dtype, lanes)


@dataclass(frozen=True, kw_only=True)
class BorderKernel(_OfRange):
    """y = x, with a border."""

    def _lanes(self, mk: MicroKernel) -> tuple[int, ...]:
        return mk.byte_lanes

    def _code(self, mk: MicroKernel, value: Expr, lanes: int, scale: Expr, zero: Expr) -> Expr:
        del mk, lanes, scale, zero
        return value


@dataclass(frozen=True, kw_only=True)
class RecodeKernel:
    """The same numbers in another type of the same size, larger by a constant where they are codes.

    Args:
        count: of numbers side by side.
        by: how much larger they are in y.
    """

    count: int
    x: str
    y: str
    by: int

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, by=0)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.count, self.x)
            by = k.constant(np.array([self.by], np.int32))
            y = k.tensor(self.count, self.y)
            share = even_share(self.count)

            def body(at: Index, lanes: int) -> None:
                wide = cast(load(x, at, lanes), "int32", lanes) + splat(load(by, 0), lanes)
                store(y, at, cast(wide, self.y, lanes), lanes)

            with loop(*k.items(self.count // share)) as row:
                first = let(row * share)
                for_vectors(share, mk.lanes, lambda i, lanes: body(first + i, lanes))
        return k.finish()
