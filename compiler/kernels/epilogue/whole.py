"""Codes of int32 sums by integers alone, with the bits of float32: see `onnx_model.requantize`."""

import numpy as np

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.base import PerLane
from edgekiln.compiler.onnx_model.requantize import WholeFactors
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, Index, load, splat


class WholeCodes:
    """Turns sums into codes around a zero point, saturated.

    Args:
        zero: the zero point.
    """

    def __init__(self, k: KernelBuilder, whole: WholeFactors, zero: int, per_lane: PerLane) -> None:
        self._shift = whole.shift
        factors = per_lane(whole.factors).astype(np.int32)
        self._start = len(factors)
        # The zero point and a half, as `whole.shift` wants them.
        start = (2 * zero + 1) << (whole.shift - 1)
        self._numbers = k.constant(np.append(factors, np.array([start, zero], np.int32)))

    def codes(self, mk: MicroKernel, acc: Expr, at: Index, lanes: int) -> Expr:
        """The codes of sums, bias included.

        Args:
            at: of the first lane's channel.
        """
        assert mk.requantizes
        factor, start = load(self._numbers, at, lanes), load(self._numbers, self._start)
        return mk.requantizes.codes(acc, factor, start, self._shift, lanes)

    def steps(self, mk: MicroKernel, acc: Expr, at: Index, lanes: int) -> Expr:
        """The codes' steps from the zero point, int32."""
        zero = splat(load(self._numbers, self._start + 1), lanes)
        return mk.widen(self.codes(mk, acc, at, lanes), lanes) - zero
