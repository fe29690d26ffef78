"""What happens to float sums before the store: residual, clip, function."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.epilogue.requantize import Epilogue, Residual, store_lanes
from edgekiln.compiler.kernels.function import Function, apply
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    float_const,
    load,
    maximum,
    minimum,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.compiler.kernels.conv2d.floats import FloatConv2d
    from edgekiln.compiler.kernels.depthwise.emit_fma import FloatDepthwise2d

C = TypeVar("C", "FloatConv2d", "FloatDepthwise2d")

NO_CLIP = (float("-inf"), float("inf"))


def erased(clip: tuple[float, float]) -> tuple[float, float]:
    """Bounds that stand for all with the same code."""
    low, high = (0.0 if math.isfinite(bound) else bound for bound in clip)
    return low, high


def erased_residual(residual: Residual | None) -> Residual | None:
    return replace(residual, clip=erased(residual.clip)) if residual else None


def erased_convolution(conv: C) -> C:
    """The convolution that stands for all with the same code."""
    return replace(
        conv,
        weight=np.zeros_like(conv.weight),
        bias=np.zeros_like(conv.bias),
        clip=erased(conv.clip),
        residual=erased_residual(conv.residual),
    )


class Bounds:
    """Lowest and highest value. They lie in memory, so that layers of one shape share code."""

    def __init__(self, k: KernelBuilder, clip: tuple[float, float]) -> None:
        self._finite = np.isfinite(clip)
        if self._finite.any():
            self._numbers = k.constant(np.array(clip, np.float32))

    def clamp(self, value: Expr, lanes: int) -> Expr:
        for index, (narrow, finite) in enumerate(
            zip((maximum, minimum), self._finite, strict=True)
        ):
            if finite:
                value = narrow(value, splat(load(self._numbers, index), lanes))
        return value


class FloatEpilogue:
    """Turns a vector of float32 sums into stored elements of `y`; the float twin of `Epilogue`."""

    def __init__(
        self,
        mk: MicroKernel,
        y: Nhwc,
        clip: tuple[float, float],
        residual: Residual | None,
        function: Function,
    ) -> None:
        self.mk = mk
        self._y = y
        self._clip = clip
        self._residual = residual
        self._function = function

    def declare_inputs(self, k: KernelBuilder) -> None:
        if self._residual:
            self._other = k.tensor(self._residual.tensor.elements, "float32")

    def declare_constants(self, k: KernelBuilder, bias: "NDArray[np.generic]") -> None:
        """`bias` is in the order of the vectors, padded to whole ones."""
        self._bias = k.constant(bias)
        if self._residual:
            self._own = Bounds(k, self._residual.clip)
        self._bounds = Bounds(k, self._clip)

    def declare_output(self, k: KernelBuilder) -> None:
        self._out = k.tensor(self._y.elements, "float32")

    @property
    def out(self) -> Buffer:
        return self._out

    def zero(self) -> Expr:
        """For the output's border."""
        return float_const(0.0)

    def bias(self, at: Index, lanes: int) -> Expr:
        return load(self._bias, at, lanes)

    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Store the first `valid` lanes of `acc`, float32 × lanes, bias included.

        Args:
            y: flat index in the output.
            other: flat index in the residual tensor; unused without one.
            at, order: as in `Epilogue`; float lanes are in order and have no numbers of their own.
        """
        del at, order
        if self._residual:
            acc = self._own.clamp(acc, lanes) + load(self._other, other, lanes)
        value = apply(self.mk, self._function, self._bounds.clamp(acc, lanes), lanes)
        store_lanes(self._out, y, value, "float32", lanes, valid)


AnyEpilogue = Epilogue | FloatEpilogue
