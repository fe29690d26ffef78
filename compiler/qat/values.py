"""What flows through a network under quantization-aware training.

A quantized tensor is held as its steps: codes less the zero point, whole numbers in float32. What
an operator makes of steps is not computed before it is known in whose steps it is wanted, for the
integer program has one factor from its sums to the result's codes, not two.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekiln.compiler.qat.rounding import Limits, rounded

if TYPE_CHECKING:
    from torch import Tensor

# Makes steps of a scale, not rounded, as a product of the two; or (None) the value itself.
InSteps = Callable[["Tensor | None"], "tuple[Tensor, Tensor]"]


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedValue:
    """Quantized numbers, steps · scale.

    Args:
        steps: whole numbers in float32, inside of `limits`.
        scale: one float32.
        zero: the code of zero.
    """

    steps: "Tensor"
    scale: "Tensor"
    zero: int
    limits: Limits

    def moved(self, steps: "Tensor") -> "QuantizedValue":
        """Other steps of the same quantization."""
        return replace(self, steps=steps)

    @property
    def largest(self) -> tuple[float, float]:
        """How far below and above zero a step can be."""
        return max(-self.limits[0], 0.0), max(self.limits[1], 0.0)

    def same_quantization(self, other: "QuantizedValue") -> bool:
        """Whether equal codes of both are equal numbers."""
        return (self.zero, self.limits) == (other.zero, other.limits) and bool(
            self.scale == other.scale
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Pending:
    """What an operator made of quantized numbers, before it is known in whose steps it is wanted.

    Args:
        in_steps: gives two factors, whose product in float32 is the value in steps of a scale.
        bounds: real numbers that the value is clipped to.
    """

    in_steps: InSteps
    bounds: Limits = (float("-inf"), float("inf"))

    def clipped(self, low: float, high: float) -> "Pending":
        """The value behind one more Relu or Clip."""
        # Of bounds that cross, the later clip has the last word.
        below, above = (min(max(bound, low), high) for bound in self.bounds)
        return replace(self, bounds=(below, above))

    def quantized(self, scale: "Tensor", zero: int, limits: Limits) -> QuantizedValue:
        """The value as codes: clipping before and after the rounding are the same."""
        value, factor = self.in_steps(scale)
        ends = [_steps_of(bound, scale, limits) for bound in self.bounds]
        return QuantizedValue(
            steps=rounded(value, factor, (ends[0], ends[1])), scale=scale, zero=zero, limits=limits
        )

    @property
    def real(self) -> "Tensor":
        """The value as float32."""
        value, factor = self.in_steps(None)
        low, high = self.bounds
        product = value * factor
        return product if (low, high) == (float("-inf"), float("inf")) else product.clamp(low, high)


# Plain tensors are floats, as they are in front of the first quantization and behind the last.
Value = "QuantizedValue | Pending | Tensor"


def real(value: "QuantizedValue | Pending | Tensor") -> "Tensor":
    """A value as float32."""
    if isinstance(value, QuantizedValue):
        return value.steps * value.scale
    return value.real if isinstance(value, Pending) else value


def _steps_of(bound: float, scale: "Tensor", limits: Limits) -> float:
    """A bound in whole steps, inside of the type's own."""
    import torch

    low, high = limits
    if bound in (float("-inf"), float("inf")):
        return low if bound < 0 else high
    steps = (torch.tensor(bound, dtype=torch.float32) / scale.detach()).round()
    return min(max(float(steps), low), high)
