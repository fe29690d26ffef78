"""Operations on codes by TFLite's arithmetic: scales are in their integers alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import Fill, IntFinish
from edgekiln.compiler.ir.fixed_point import FixedPoint
from edgekiln.compiler.ir.memory import Halo
from edgekiln.compiler.ir.moves import unequal
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.ops import mean_fault
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.ir.window import Window

# "from": the second operand minus the first one.
FixedFunction = Literal["add", "sub", "from", "mul", "prelu"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedBinary(Op):
    """A sum, difference or product, or PReLU, element by element; the second operand may be
    broadcast.

    Factors: of a sum those of its operands, then that of the sum; of a product one; of PReLU that
    of the first operand, then that of the product.
    """

    KIND: ClassVar[str] = "fixed"
    spreads_layout: ClassVar[bool] = True

    function: FixedFunction
    factors: FixedPoint
    finish: IntFinish

    @property
    def kind(self) -> str:
        return "sub" if self.function == "from" else self.function

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return unequal(ys[0], xs[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedAveragePool(Op):
    """The mean of each window's codes inside the image, rounded half away from `origin`: the code
    that was 0 when codes were signed.
    """

    KIND: ClassVar[str] = "avg_pool"
    is_image: ClassVar[bool] = True

    window: Window
    origin: Fill
    finish: IntFinish

    def reads_border(self, x: Tensor, y: Tensor) -> Halo:
        return self.window.reach(x, y)

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return self.window.fault(xs[0], ys[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedMean(Op):
    """The sum of an image's pixels, or of a sequence's tokens, times a factor."""

    KIND: ClassVar[str] = "global_avg_pool"
    is_image: ClassVar[bool] = True

    factor: FixedPoint
    finish: IntFinish

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return mean_fault(xs[0], ys[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedSoftmax(Op):
    """Makes each row of the last axis a probability distribution.

    Args:
        powers: (256,) int32 with no integer bits, for a code that is so far below its row's
            largest.
        lowest: the code that is 0.
    """

    KIND: ClassVar[str] = "softmax"
    on_rows: ClassVar[bool] = True

    powers: NDArray[np.int32]
    lowest: Fill

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return unequal(*xs, *ys)
