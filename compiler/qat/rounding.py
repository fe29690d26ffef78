"""Roundings that let gradients through: exact forwards, straight-through backwards.

Where a value is rounded, its gradient passes as if it were not; where it is cut off at the ends of
its range, none does (Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons,
2013, arXiv:1308.3432). With scales that are factors of what is rounded this gives the gradients of
learned step sizes (Esser et al., Learned Step Size Quantization, 2019, arXiv:1902.08153, section
2.1): ∂(s·round(v/s))/∂s = round(v/s) − v/s inside of the range, and its end outside.
"""

from typing import TYPE_CHECKING

import torch
from torch.autograd import Function

if TYPE_CHECKING:
    from torch import Tensor
    from torch.autograd.function import FunctionCtx

Limits = tuple[float, float]  # the lowest and the highest step


class _Rounded(Function):
    """round(x · factor), half to even, cut off at both ends."""

    @staticmethod
    def forward(
        ctx: "FunctionCtx", x: "Tensor", factor: "Tensor", low: float, high: float
    ) -> "Tensor":
        ctx.save_for_backward(x, factor)
        ctx.limits = low, high  # type: ignore[attr-defined]
        return (x * factor).round_().clamp_(low, high)

    @staticmethod
    def backward(
        ctx: "FunctionCtx", gradient: "Tensor"
    ) -> "tuple[Tensor | None, Tensor | None, None, None]":
        x, factor = ctx.saved_tensors  # type: ignore[attr-defined]
        low, high = ctx.limits  # type: ignore[attr-defined]
        # The slope of a clip at x · factor, in one pass over memory.
        passing = torch.ops.aten.hardtanh_backward(gradient, x * factor, low, high)
        of_x = passing * factor if ctx.needs_input_grad[0] else None  # type: ignore[attr-defined]
        of_factor = None
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            of_factor = (passing * x).sum_to_size(factor.shape)
        return of_x, of_factor, None, None


class _FusedSum(Function):
    """a·f + b·g with the roundings of a product and a fused multiply-add, all in float32."""

    @staticmethod
    def forward(ctx: "FunctionCtx", a: "Tensor", f: "Tensor", b: "Tensor", g: "Tensor") -> "Tensor":
        ctx.save_for_backward(a, f, b, g)
        # Steps times a factor are exact in float64, and so is nearly every sum of two float32.
        return (a.double() * f.double()).add_(b * g).float()

    @staticmethod
    def backward(ctx: "FunctionCtx", gradient: "Tensor") -> "tuple[Tensor, Tensor, Tensor, Tensor]":
        a, f, b, g = ctx.saved_tensors  # type: ignore[attr-defined]
        of_a, of_b = gradient * f, (gradient * g).sum_to_size(b.shape)
        of_f = (gradient * a).sum_to_size(f.shape)
        return of_a, of_f, of_b, (gradient * b).sum_to_size(g.shape)


class _Tabulated(Function):
    """A function of few codes as a table; its slope and the scale's share are tables, too."""

    @staticmethod
    def forward(
        ctx: "FunctionCtx", index: "Tensor", steps: "Tensor", scale: "Tensor",
        values: "Tensor", slopes: "Tensor", of_scale: "Tensor",
    ) -> "Tensor":  # fmt: skip
        del steps, scale
        ctx.save_for_backward(index, slopes, of_scale)
        return values[index]

    @staticmethod
    def backward(
        ctx: "FunctionCtx", gradient: "Tensor"
    ) -> "tuple[None, Tensor, Tensor, None, None, None]":
        index, slopes, of_scale = ctx.saved_tensors  # type: ignore[attr-defined]
        of_steps = gradient * slopes[index]
        return None, of_steps, (gradient * of_scale[index]).sum(), None, None, None


class _Scaled(Function):
    """A number as it is, whose gradient is multiplied."""

    @staticmethod
    def forward(ctx: "FunctionCtx", x: "Tensor", factor: float) -> "Tensor":
        ctx.factor = factor  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: "FunctionCtx", gradient: "Tensor") -> "tuple[Tensor, None]":
        return gradient * ctx.factor, None  # type: ignore[attr-defined]


def rounded(x: "Tensor", factor: "Tensor", limits: Limits) -> "Tensor":
    """x · factor in float32, rounded half to even and cut off at the ends of `limits`.

    Args:
        factor: of a shape that is broadcast to that of x.
    """
    found: Tensor = _Rounded.apply(x, factor, *limits)  # type: ignore[no-untyped-call]
    return found


def fused_sum(a: "Tensor", f: "Tensor", b: "Tensor", g: "Tensor") -> "Tensor":
    """fma(a, f, b · g) in float32: one rounding in b · g, and one in the sum.

    Args:
        a: whole numbers of up to 9 bits, of the result's shape.
        b: as a, or of a shape that is broadcast to it.
        f, g: factors, one number each.
    """
    found: Tensor = _FusedSum.apply(a, f, b, g)  # type: ignore[no-untyped-call]
    return found


def tabulated(
    index: "Tensor", steps: "Tensor", scale: "Tensor", tables: "tuple[Tensor, Tensor, Tensor]"
) -> "Tensor":
    """The entries of a table.

    Args:
        index: which one, for each of `steps`.
        steps, scale: what the table is a function of; gradients go to them.
        tables: (256,) values, their derivatives by the step, and by the scale.
    """
    found: Tensor = _Tabulated.apply(index, steps, scale, *tables)  # type: ignore[no-untyped-call]
    return found


def with_gradient_scaled(x: "Tensor", factor: float) -> "Tensor":
    """x itself, with `factor` times its gradient."""
    found: Tensor = _Scaled.apply(x, factor)  # type: ignore[no-untyped-call]
    return found
