"""TFLite's sums, products and PReLU of two tensors of codes.

Source: tflite/kernels/internal/reference/integer_ops/{add,mul}.h, reference/{sub,prelu}.h.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edgekiln.compiler.ir.fixed_ops import FixedFunction
from edgekiln.compiler.ir.fixed_point import FixedPoint
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.fixed_point import FixedPointFactors, whole_codes
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, cast, const, load, select, splat

SUM_BITS = 20  # by which the operands of a sum are shifted left, so that their rounding is small

# Codes of y from vectors of a and b, with so many lanes.
_Value = Callable[[Expr, Expr, int], Expr]


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedArithmetic:
    """Computes codes of y from codes of a and b.

    Args:
        factors: of a sum those of a, of b and of the sum; of a product one; of PReLU that of a, and
            that of the product where a is negative.
        clip: lowest and highest code of y.
    """

    function: FixedFunction
    factors: FixedPoint
    clip: tuple[int, int]

    @property
    def erased(self) -> "FixedArithmetic":
        """What stands for all with the same code."""
        return replace(self, factors=self.factors.erased, clip=(0, 0))

    def values(
        self, k: KernelBuilder, mk: MicroKernel, tensors: tuple[Nhwc, Nhwc, Nhwc]
    ) -> tuple[_Value, Callable[[], Expr]]:
        """How codes of y are computed, and the zero of its border."""
        a, b, y = tensors
        fixed = FixedPointFactors(k, self.factors)
        # In a constant and not in the code, so that layers that differ in them alone share it.
        zeros = (y.zero_point, *self.clip, a.zero_point, b.zero_point)
        numbers = k.constant(np.array(zeros, np.int32))

        def value(left: Expr, right: Expr, lanes: int) -> Expr:
            first, second = (
                mk.widen(codes, lanes) - splat(load(numbers, 3 + place), lanes)
                for place, codes in enumerate((left, right))
            )
            steps = self._steps(fixed, first, second, lanes)
            bounds = load(numbers, 0), load(numbers, 1), load(numbers, 2)
            return whole_codes(mk, steps, bounds, y.dtype, lanes)

        return value, lambda: cast(load(numbers, 0), y.dtype)

    def _steps(self, fixed: FixedPointFactors, a: Expr, b: Expr, lanes: int) -> Expr:
        """Steps of y from those of a and b."""
        if self.function == "mul":
            return fixed.times_one(a * b, lanes)
        if self.function == "prelu":
            # Both are computed: lanes of either sign lie in one vector.
            negative = a < splat(const(0), lanes)
            plain, sloped = fixed.times_one(a, lanes), fixed.times_one(a * b, lanes, 1)
            return select(negative, sloped, plain)
        # Centred codes have 9 bits with their sign, so lifted ones and their sum stay within 32.
        bits = splat(const(SUM_BITS), lanes)
        a, b = fixed.times_one(a << bits, lanes), fixed.times_one(b << bits, lanes, 1)
        total = {"add": a + b, "sub": a - b, "from": b - a}[self.function]
        return fixed.times_one(total, lanes, 2)
