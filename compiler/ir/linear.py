"""Sums of products: convolutions, dense layers, products of activations.

Each has one form for codes and for floats: its numbers say which.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import (
    Finish,
    FloatFinish,
    Quant,
    Residual,
    SumFinish,
    SumsFinish,
    joined,
    takes_function,
)  # fmt: skip
from edgekiln.compiler.ir.fixed_point import FixedPoint
from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.memory import Halo
from edgekiln.compiler.ir.moves import described, unequal
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.ir.window import Window


@dataclass(frozen=True, kw_only=True, eq=False)
class _Linear(Op):
    """Sums of products with constant weights.

    Codes: int8 weights, int32 bias, and `mult`, which sums are multiplied by; results that stay
    floats have a `FloatFinish` then, and a `SumFinish` multiplies nothing. Floats: float32 weights
    and bias, and no `mult`.
    """

    knows_scales: ClassVar[bool] = True

    weight: NDArray[np.generic]  # (OC, IC/groups, KH, KW), or (OC, IC) of a dense layer
    bias: NDArray[np.generic]  # (OC,)
    mult: NDArray[np.float32] | FixedPoint | None = None  # (OC,)
    finish: SumsFinish
    residual: Residual | None = None

    @property
    def on_floats(self) -> bool:
        return self.mult is None

    @property
    def dequantizes(self) -> bool:
        return self.mult is not None and isinstance(self.finish, FloatFinish)

    @property
    def keeps_sums(self) -> bool:
        """Whether its results are the sums, which another operation finishes."""
        return isinstance(self.finish, SumFinish)

    @property
    def is_fixed(self) -> bool:
        """Whether its sums are multiplied as TFLite does it."""
        return isinstance(self.mult, FixedPoint)

    def with_residual(self, conv_quant: Quant | None, finish: Finish) -> "Op":
        assert not isinstance(self.finish, SumFinish), "who keeps sums takes no residual"
        residual = Residual(conv_quant=conv_quant, conv_finish=self.finish)
        return replace(self, residual=residual, finish=finish)

    def takes_function(self) -> bool:
        return takes_function(self.finish)

    def takes_quantization(self) -> bool:
        return isinstance(self.finish, FloatFinish)

    def with_function(self, function: Function) -> "Op":
        return replace(self, finish=joined(self.finish, function))

    def _channels_fault(self) -> str:
        channels = len(self.weight)
        each = [a.size for a in (self.bias, self.mult) if a is not None]
        return "" if {*each} == {channels} else f"{each} numbers for {channels} channels"


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2d(_Linear):
    """A convolution of an image, depthwise ones too."""

    KIND: ClassVar[str] = "conv2d"
    is_image: ClassVar[bool] = True
    spreads_layout: ClassVar[bool] = True

    window: Window
    groups: int = 1

    def reads_border(self, x: Tensor, y: Tensor) -> Halo:
        return self.window.reach(x, y)

    def writes_parts(self) -> bool:
        return self.groups == 1 and self.residual is None

    def takes_residual(self) -> bool:
        makes_codes = not self.dequantizes and not self.keeps_sums
        return self.residual is None and makes_codes and not self.is_fixed

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        x, y = xs[0], ys[0]
        channels = (self.groups * self.weight.shape[1], len(self.weight))
        if (x.shape[1], y.shape[1]) != channels or self.weight.shape[2:] != self.window.kernel:
            return f"weights {self.weight.shape} do not fit {described(x)} and {described(y)}"
        added = unequal(y, xs[1]) if self.residual else ""
        return self._channels_fault() or self.window.fault(x, y) or added


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(_Linear):
    """The product of each row of the operand's last axis with the weights."""

    KIND: ClassVar[str] = "dense"
    on_rows: ClassVar[bool] = True

    def takes_residual(self) -> bool:
        return self.residual is None and self.on_floats

    def for_channels_last(self, image: tuple[int, ...]) -> "Dense":
        """The same layer for flattened images (N, C, H, W) whose values lie channels-last."""
        # The columns of the weights follow the values they are multiplied by.
        # (OC, C, H, W) → (OC, H, W, C)
        columns = self.weight.reshape(-1, *image[1:]).transpose(0, 2, 3, 1)
        return replace(self, weight=columns.reshape(self.weight.shape).copy())

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        x, y = xs[0], ys[0]
        channels, features = self.weight.shape
        if x.elements % features or x.elements // features * channels != y.elements:
            return f"weights {self.weight.shape} do not fit {described(x)} and {described(y)}"
        return self._channels_fault() or (unequal(y, xs[1]) if self.residual else "")


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMul(Op):
    """The products of two operands' matrices.

    The permutations are the ONNX axes of the tensors in memory that are the product's own axes
    (…batch, row, column); None: as they are.
    """

    KIND: ClassVar[str] = "matmul"
    on_rows: ClassVar[bool] = True
    knows_scales: ClassVar[bool] = True

    mult: np.float32 | None = None  # of codes: what sums are multiplied by
    finish: SumsFinish
    a_perm: tuple[int, ...] | None = None
    b_perm: tuple[int, ...] | None = None
    y_perm: tuple[int, ...] | None = None

    @property
    def dequantizes(self) -> bool:
        return self.mult is not None and isinstance(self.finish, FloatFinish)

    def takes_function(self) -> bool:
        return takes_function(self.finish)

    def takes_quantization(self) -> bool:
        return isinstance(self.finish, FloatFinish)

    def with_function(self, function: Function) -> "Op":
        return replace(self, finish=joined(self.finish, function))

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (a, b), (y,) = xs, ys
        # The last two of the product's own axes; before them, batches are broadcast.
        (m, k), (inner, n), result = (
            tuple(tensor.shape[axis] for axis in axes_of(tensor, perm)[-2:])
            for tensor, perm in ((a, self.a_perm), (b, self.b_perm), (y, self.y_perm))
        )
        fits = k == inner and result == (m, n)
        return "" if fits else f"{described(a)} · {described(b)} is not {described(y)}"


def axes_of(tensor: Tensor, perm: tuple[int, ...] | None) -> tuple[int, ...]:
    """The tensor's axes in the order (…batch, row, column) of a product."""
    return tuple(range(len(tensor.shape))) if perm is None else perm
