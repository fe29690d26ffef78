"""Floats become codes of a quantized tensor, as ONNX's QuantizeLinear and TFLite's QUANTIZE do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.scales import divided_by_reciprocal
from edgekiln.compiler.kernels.numbers import NumbersConstant, most_steps
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.codes import Divisor
from edgekiln.targets.isa.expressions import (
    Expr,
    cast,
    float_const,
    maximum,
    minimum,
    select,
    splat,
)

_FAR = 2.0**20  # steps that are beyond all codes, and whole numbers in float32
_BELOW_HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))


@dataclass(frozen=True)
class Rounding:
    """Codes of y: saturate(round(x / scale) + zero point), half to even; a true division.

    NaN becomes the lowest code.
    """

    y: Nhwc

    @property
    def by_reciprocal(self) -> bool:
        """Whether products with the reciprocal have the codes of quotients, as nearly always."""
        return divided_by_reciprocal(self.y.scale, int(most_steps(self.y.dtype)) + 1)

    @property
    def erased(self) -> Nhwc:
        """The tensor that stands for all with the same code."""
        return self.y.unscaled if self.by_reciprocal else self.y

    def numbers(self, k: KernelBuilder) -> NumbersConstant:
        """Declare the scale, as numbers to divide by, and what codes may be."""
        floats = Divisor.numbers(self.y.scale)
        return NumbersConstant(k, self.y, floats=floats, bounded=self.by_reciprocal)

    def codes(
        self, mk: MicroKernel, numbers: NumbersConstant, value: Expr, lanes: int,
        order: Sequence[int] | None = None,
    ) -> Expr:  # fmt: skip
        """The codes of float32 values.

        Args:
            order: where in the result each lane goes; None: they stay.
        """
        # The divisor's numbers are read from memory, so that scales share code.
        divisor = Divisor(*map(numbers.float, range(4)))
        return numbers.codes(mk, self._steps(mk, value, divisor, lanes), lanes, order)

    def _steps(self, mk: MicroKernel, value: Expr, divisor: Divisor, lanes: int) -> Expr:
        """The value in steps of y, before it is rounded."""
        if self.by_reciprocal:
            return mk.quotient(value, divisor, lanes)
        # The rare scale for which only a true division has ONNX's codes.
        return value / splat(divisor.value, lanes)


class HalfAway(Rounding):
    """What lies between two codes goes away from zero."""

    @property
    def by_reciprocal(self) -> bool:
        """A quotient in the middle must be exactly there."""
        return False

    def _steps(self, mk: MicroKernel, value: Expr, divisor: Divisor, lanes: int) -> Expr:
        del mk  # no chip has an instruction for it
        steps = value / splat(divisor.value, lanes)
        size = minimum(maximum(steps, -steps), splat(float_const(_FAR), lanes))
        # The largest number below a half: with it no sum is rounded up to a whole number.
        whole = cast(size + splat(float_const(_BELOW_HALF), lanes), "int32", lanes)
        rounded = cast(whole, "float32", lanes)
        return select(steps >= splat(float_const(0.0), lanes), rounded, -rounded)
