"""The numbers of a QDQ model that are trained: weights, biases and scales; from its file and back.

All begin with what the quantizer chose, so that an untrained network computes the codes of the
model that it was made of. Parameters are without unit, so that one learning rate fits all: weights
in parts of a channel's largest, biases in parts of a full product, scales by their logarithm.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgekiln.compiler.qat.rounding import rounded, with_gradient_scaled
from edgekiln.compiler.quantization.products import WEIGHT_BITS, most_code

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_FULL = float(most_code())  # the largest step of an int8 weight
_NEAREST = 0.499  # of a step: what is rounded to the same code
_FARTHEST = 8.0  # logarithm of how far a scale goes from its first value: what is 0 has no codes


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightCodes:
    """A product's constant operand: steps, whole numbers in float32, and their scales, (OC,) along
    `axis`; of a single scale (1,).
    """

    steps: "Tensor"
    scale: "Tensor"
    axis: int


class LearnedScale(nn.Module):
    """The scale of activations: its first value times e^θ."""

    def __init__(self, scale: float, elements: int, largest: float) -> None:
        """Args:
        elements: of one sample of the tensor.
        largest: step of its type.
        """
        super().__init__()
        self.first: Tensor
        self.register_buffer("first", torch.tensor(scale, dtype=torch.float32))
        self.theta = nn.Parameter(torch.zeros(()))
        # Esser et al., section 2.2: as large beside the scale as a weight's gradient is.
        self._share = 1 / math.sqrt(max(1, elements) * largest)

    def forward(self) -> "Tensor":
        return with_gradient_scaled(self.first * _growth(self.theta), self._share)


class LearnedWeight(nn.Module):
    """Weights and their scales. Real numbers are kept beside the codes they are rounded to."""

    def __init__(
        self, codes: "NDArray[np.generic]", scale: "NDArray[np.float32]", axis: int,
        real: "NDArray[np.float32] | None", bits: int = WEIGHT_BITS,
    ) -> None:  # fmt: skip
        """Args:
        codes: int8, zero for zero.
        scale: one a slice of `axis`, or one.
        real: what the codes were rounded from; None: nobody knows.
        bits: of a weight. Codes of more bits get scales of their own: those of the least squared
            error.
        """
        super().__init__()
        self.axis = axis if scale.size > 1 else 0
        self._shape = [1] * codes.ndim
        self._shape[self.axis] = scale.size
        steps = codes.astype(np.float64)
        if real is not None:
            exact = real.astype(np.float64) / scale.astype(np.float64).reshape(self._shape)
            steps = exact.clip(steps - _NEAREST, steps + _NEAREST)
        self._most = float(most_code(bits))
        # What a value of 1 is: the largest step that the codes can be.
        full = self._most
        step, ratio = np.ones(scale.size), np.full(scale.size, full)
        if np.abs(codes.astype(np.int64)).max(initial=0) > self._most:
            full = _FULL
            share = _best_shares(np.moveaxis(steps, self.axis, 0).reshape(scale.size, -1), bits)
            step, ratio = share * _FULL / self._most, self._most / share
        first = scale.astype(np.float64) * step
        self.first: Tensor
        self.ratio: Tensor
        self.register_buffer("first", torch.from_numpy(first.astype(np.float32)))
        self.register_buffer("ratio", torch.from_numpy(ratio.astype(np.float32)))
        self.theta = nn.Parameter(torch.zeros(scale.size))
        self.value = nn.Parameter(torch.from_numpy((steps / full).astype(np.float32)))
        self._share = 1 / math.sqrt(max(1, codes.size // scale.size) * self._most)

    def forward(self) -> WeightCodes:
        growth = with_gradient_scaled(_growth(self.theta), self._share)
        # Parts of all steps of the first scale, in steps of today's.
        factor = (self.ratio / growth).reshape(self._shape)
        steps = rounded(self.value, factor, (-self._most, self._most))
        return WeightCodes(steps=steps, scale=self.first * growth, axis=self.axis)


class LearnedBias(nn.Module):
    """A bias, in steps of its sums: what it was at first, and what is added."""

    def __init__(
        self, codes: "NDArray[np.generic]", scale: "NDArray[np.float32]", bits: int = WEIGHT_BITS
    ) -> None:
        """Args:
        codes: int32, (OC,).
        scale: that of the sums, (OC,) or one.
        bits: of the weights that are summed.
        """
        super().__init__()
        steps = np.broadcast_to(scale.astype(np.float64), codes.shape)
        self.first: Tensor
        self.unit: Tensor
        self.register_buffer("first", torch.from_numpy(codes.astype(np.float64) * steps))
        # One full product: every code and every weight at its largest.
        self.register_buffer("unit", torch.from_numpy(steps * _FULL * most_code(bits)))
        self.delta = nn.Parameter(torch.zeros(len(codes)))

    def forward(self, scale: "Tensor") -> "Tensor":
        """Whole steps of `scale`, (OC,) float32, in float64."""
        real = self.first + self.delta.double() * self.unit
        limit = float(2**31)
        return rounded(real, 1 / scale.double(), (-limit, limit - 1))


def _best_shares(steps: "NDArray[np.float64]", bits: int) -> "NDArray[np.float64]":
    """The share of each row's range that so many bits are best spread over, (rows,); what lies
    outside is cut off.

    Args:
        steps: int8, (rows, …).
    """
    most = most_code(bits)
    shares = np.linspace(0.4, 1.0, 25)
    errors = []
    for share in shares:
        scale = share * _FULL / most
        near = (steps / scale).round().clip(-most, most) * scale
        errors.append(((near - steps) ** 2).sum(axis=1))
    return np.asarray(shares[np.argmin(errors, axis=0)])


def _growth(theta: "Tensor") -> "Tensor":
    return theta.clamp(-_FARTHEST, _FARTHEST).exp()
