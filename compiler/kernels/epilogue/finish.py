"""What a layer does with its sums, as data: the only difference between integers and floats."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.epilogue.codes import CodesEpilogue, is_bounded
from edgekiln.compiler.kernels.epilogue.fixed import FixedPointFinish
from edgekiln.compiler.kernels.epilogue.floats import (
    NO_CLIP,
    DequantizedEpilogue,
    FloatEpilogue,
    FloatResult,
)
from edgekiln.compiler.kernels.epilogue.kept import SumsEpilogue
from edgekiln.compiler.kernels.epilogue.sums import ResidualOperand, Sums, folded_bias, is_rectified
from edgekiln.compiler.kernels.numbers import all_codes
from edgekiln.compiler.kernels.rounding import Rounding
from edgekiln.compiler.kernels.sharing import SIGNED_IF_SET
from edgekiln.compiler.onnx_model.requantize import WholeFactors
from edgekiln.compiler.onnx_model.whole_sums import SumFactors
from edgekiln.targets.isa.base import MicroKernel

S = TypeVar("S", bound=Sums)

_UNBOUNDED = 2.0**31  # a factor, or a scale, with which values may leave int32


@dataclass(frozen=True, kw_only=True, eq=False)
class RequantizeFinish:
    """Sums of codes become codes of y: times `mult`, rounded half to even, clipped.

    Args:
        mult: (OC,) or (1,) float32, see `onnx_model.requantize.multiplier`.
        clip: lowest and highest code of y.
        whole: the same by integers alone, on chips where that is less work; None: by floats. Of a
            layer with a residual, for the result before that is added.
        added: likewise the sum with the residual.
    """

    SIGNED_AS: ClassVar[str] = "Requantize"

    mult: NDArray[np.float32]
    clip: tuple[int, int] = (0, 255)
    whole: WholeFactors | None = field(default=None, metadata={SIGNED_IF_SET: True})
    added: SumFactors | None = field(default=None, metadata={SIGNED_IF_SET: True})

    prefix: ClassVar[str] = ""
    suffix: ClassVar[str] = ""

    def epilogue(self, mk: MicroKernel, sums: Sums) -> Epilogue:
        """The code that does it."""
        return CodesEpilogue(
            mk, sums.y, self.mult, self.clip, sums.residual, folded_bias(sums, mk.offset),
            rectified=self.is_rectified(sums), whole=self.whole, added=self.added,
        )  # fmt: skip

    def is_rectified(self, sums: Sums) -> bool:
        """Whether y is max(0, sum · mult), and the sums may be floats by their bits."""
        return is_rectified(sums, self.mult, self.clip)

    def erased(self, sums: S) -> tuple[S, "RequantizeFinish"]:
        """The sums and the finish that stand for all with the same code. Weights are left alone."""
        residual, rectified = sums.residual, self.is_rectified(sums)
        y, finish = self._erased(sums.y, residual, rectified=rectified)
        if residual:
            tensor = replace(residual.tensor.unscaled, scale=0.0)
            scale = float(finish.mult.flat[0])
            residual = ResidualOperand(tensor=tensor, scale=scale, zero_point=0, clip=(0, 0))
        bias = np.zeros_like(sums.bias)
        return replace(sums, x=sums.x.unscaled, y=y, bias=bias, residual=residual), finish

    def erased_result(self, y: Nhwc) -> tuple[Nhwc, "RequantizeFinish"]:
        """The result of a product, and its finish, that stand for all with the same code."""
        return self._erased(y, None, rectified=False)

    def _erased(
        self, y: Nhwc, residual: ResidualOperand | None, *, rectified: bool
    ) -> tuple[Nhwc, "RequantizeFinish"]:
        """Numbers that decide what the code depends on as those of the layer do: whether sums are
        rectified, whether values stay inside int32, whether clipping is the type's own.
        """
        bounded = rectified or is_bounded(y, self.mult, residual)
        low, high = all_codes(y.dtype)
        saturating = self.clip[1] == high if rectified else self.clip == (low, high)
        finish = RequantizeFinish(
            mult=np.full_like(self.mult, 0.0 if bounded else _UNBOUNDED),
            clip=(low, high if saturating else low),
            whole=self.whole and self.whole.erased,
            added=self.added and self.added.erased,
        )
        return replace(y, scale=1.0, zero_point=low if rectified else high), finish


@dataclass(frozen=True, kw_only=True)
class ActivationFinish:
    """Sums of floats become y: clipped, put through a function, and rounded to codes where y is
    quantized.

    Args:
        clip: lowest and highest value before `function`.
    """

    SIGNED_AS: ClassVar[str] = "FloatFinish"

    clip: tuple[float, float] = NO_CLIP
    function: Function = ()

    prefix: ClassVar[str] = "float "

    @property
    def suffix(self) -> str:
        """What follows the sums, for people: " + Mul, Erf"."""
        return f" + {', '.join(step.op for step in self.function)}" if self.function else ""

    def result(self, y: Nhwc) -> FloatResult:
        """The code that makes elements of y from floats."""
        return FloatResult(y, self.clip, self.function)

    def epilogue(self, mk: MicroKernel, sums: Sums) -> Epilogue:
        """The code that does it."""
        bias = sums.bias.astype(np.float32, copy=False)
        return FloatEpilogue(mk, sums.y, self.result(sums.y), sums.residual, bias)

    def erased(self, sums: S) -> tuple[S, "ActivationFinish"]:
        """The sums and the finish that stand for all with the same code. Weights are left alone."""
        residual = sums.residual
        if residual:
            residual = replace(residual, clip=_erased_bounds(residual.clip))
        y, finish = self.erased_result(sums.y)
        return replace(sums, y=y, bias=np.zeros_like(sums.bias), residual=residual), finish

    def erased_result(self, y: Nhwc) -> tuple[Nhwc, "ActivationFinish"]:
        """The result of a product, and its finish, that stand for all with the same code."""
        return erased_floats(y), self.without_bounds

    @property
    def without_bounds(self) -> "ActivationFinish":
        """The finish with bounds that stand for all with the same code, for they lie in memory."""
        return replace(self, clip=_erased_bounds(self.clip))


@dataclass(frozen=True, kw_only=True, eq=False)
class DequantizeFinish:
    """Sums of codes become floats, times `mult`, and then y as by an `ActivationFinish`.

    Args:
        mult: (OC,) or (1,) float32, see `onnx_model.requantize.multiplier`.
    """

    SIGNED_AS: ClassVar[str] = "Dequantize"

    mult: NDArray[np.float32]
    floats: ActivationFinish = field(default_factory=ActivationFinish)

    prefix: ClassVar[str] = ""

    @property
    def suffix(self) -> str:
        """What follows the sums, for people."""
        return self.floats.suffix

    def epilogue(self, mk: MicroKernel, sums: Sums) -> Epilogue:
        """The code that does it."""
        result = self.floats.result(sums.y)
        return DequantizedEpilogue(mk, sums.y, self.mult, result, folded_bias(sums, mk.offset))

    def erased(self, sums: S) -> tuple[S, "DequantizeFinish"]:
        """The sums and the finish that stand for all with the same code. Weights are left alone."""
        y, finish = self.erased_result(sums.y)
        return replace(sums, x=sums.x.unscaled, y=y, bias=np.zeros_like(sums.bias)), finish

    def erased_result(self, y: Nhwc) -> tuple[Nhwc, "DequantizeFinish"]:
        """The result of a product, and its finish, that stand for all with the same code."""
        y, floats = self.floats.erased_result(y)
        return y, DequantizeFinish(mult=np.zeros_like(self.mult), floats=floats)


@dataclass(frozen=True, kw_only=True)
class SumsFinish:
    """Sums of codes stay what they are: int32."""

    prefix: ClassVar[str] = ""
    suffix: ClassVar[str] = ", sums"

    def epilogue(self, mk: MicroKernel, sums: Sums) -> Epilogue:
        """The code that does it."""
        return SumsEpilogue(mk, sums.y, folded_bias(sums, mk.offset))

    def erased(self, sums: S) -> tuple[S, "SumsFinish"]:
        """The sums and the finish that stand for all with the same code. Weights are left alone."""
        bias = np.zeros_like(sums.bias)
        return replace(sums, x=sums.x.unscaled, y=sums.y.unscaled, bias=bias), self

    def erased_result(self, y: Nhwc) -> tuple[Nhwc, "SumsFinish"]:
        """The result of a product, and its finish, that stand for all with the same code."""
        return y.unscaled, self


Finish = RequantizeFinish | FixedPointFinish | ActivationFinish | DequantizeFinish | SumsFinish


def erased_floats(y: Nhwc) -> Nhwc:
    """The result of floats that stands for all with the same code."""
    return y if y.dtype == "float32" else Rounding(y).erased


def _erased_bounds(clip: tuple[float, float]) -> tuple[float, float]:
    low, high = (0.0 if math.isfinite(bound) else bound for bound in clip)
    return low, high
