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

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_FULL = 127.0  # the largest step of an int8 weight
_NEAREST = 0.499  # of a step: what is rounded to the same code


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
        return with_gradient_scaled(self.first * self.theta.exp(), self._share)


class LearnedWeight(nn.Module):
    """Weights and their scales. Real numbers are kept beside the codes they are rounded to."""

    def __init__(
        self, codes: "NDArray[np.generic]", scale: "NDArray[np.float32]", axis: int,
        real: "NDArray[np.float32] | None", most: float = _FULL,
    ) -> None:  # fmt: skip
        """Args:
        codes: int8, zero for zero.
        scale: one a slice of `axis`, or one.
        real: what the codes were rounded from; None: nobody knows.
        most: the largest step, 7 for weights of 4 bits.
        """
        super().__init__()
        self.axis = axis if scale.size > 1 else 0
        self._shape = [1] * codes.ndim
        self._shape[self.axis] = scale.size
        steps = codes.astype(np.float64)
        if real is not None:
            exact = real.astype(np.float64) / scale.astype(np.float64).reshape(self._shape)
            steps = exact.clip(steps - _NEAREST, steps + _NEAREST)
        self.most = most
        self.first: Tensor
        self.register_buffer("first", torch.from_numpy(scale.astype(np.float32)))
        self.theta = nn.Parameter(torch.zeros(scale.size))
        self.value = nn.Parameter(torch.from_numpy((steps / _FULL).astype(np.float32)))
        self._share = 1 / math.sqrt(max(1, codes.size // scale.size) * most)

    def forward(self) -> WeightCodes:
        growth = with_gradient_scaled(self.theta.exp(), self._share)
        # In units of the first scale, and so of today's: v · 127 · s₀ / s.
        factor = (_FULL / growth).reshape(self._shape)
        steps = rounded(self.value, factor, (-self.most, self.most))
        return WeightCodes(steps=steps, scale=self.first * growth, axis=self.axis)


class LearnedBias(nn.Module):
    """A bias, in steps of its sums: what it was at first, and what is added."""

    def __init__(self, codes: "NDArray[np.generic]", scale: "NDArray[np.float32]") -> None:
        """Args:
        codes: int32, (OC,).
        scale: that of the sums, (OC,) or one.
        """
        super().__init__()
        steps = np.broadcast_to(scale.astype(np.float64), codes.shape)
        self.first: Tensor
        self.unit: Tensor
        self.register_buffer("first", torch.from_numpy(codes.astype(np.float64) * steps))
        # One full product: every code and every weight at its largest.
        self.register_buffer("unit", torch.from_numpy(steps * _FULL**2))
        self.delta = nn.Parameter(torch.zeros(len(codes)))

    def forward(self, scale: "Tensor") -> "Tensor":
        """Whole steps of `scale`, (OC,) float32, in float64."""
        real = self.first + self.delta.double() * self.unit
        limit = float(2**31)
        return rounded(real, 1 / scale.double(), (-limit, limit - 1))
