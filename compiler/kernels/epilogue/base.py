"""What an epilogue is: it turns a vector of sums into stored elements of the result."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.sums import ResidualOperand
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, load

# Brings one number a channel into the order of the vectors, padded to whole ones.
PerLane = Callable[[NDArray[np.generic]], NDArray[np.generic]]


class Epilogue(ABC):
    """Turns a vector of sums into stored elements of `y`.

    Sums start from what `bias` loads; `emit` takes sums that did. Numbers that differ between
    layers of one shape lie in memory, not in the code, so that such layers share one function.
    """

    _bias: Buffer  # declared with the constants

    def __init__(self, mk: MicroKernel, y: Nhwc, residual: ResidualOperand | None) -> None:
        self.mk = mk
        self._y = y
        self._residual = residual

    def declare_inputs(self, k: KernelBuilder) -> None:
        """Declare the residual's tensor, where there is one."""
        if self._residual:
            tensor = self._residual.tensor
            self._other = k.tensor(tensor.elements, tensor.dtype)

    @abstractmethod
    def declare_constants(self, k: KernelBuilder, per_lane: PerLane) -> None:
        """Declare the biases first, and whatever else it takes."""

    def declare_output(self, k: KernelBuilder) -> None:
        """Declare the memory of `y`."""
        self._out = k.tensor(self._y.elements, self._y.dtype)

    @property
    def out(self) -> Buffer:
        """The memory of `y`."""
        return self._out

    @property
    def biases(self) -> Buffer:
        """What `bias` loads from: one a lane."""
        return self._bias

    def bias(self, at: Index, lanes: int) -> Expr:
        """What the sums of these lanes start from."""
        return load(self._bias, at, lanes)

    @abstractmethod
    def zero(self) -> Expr:
        """The output's zero, for its border."""

    @abstractmethod
    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index | None, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Store the first `valid` lanes.

        Args:
            acc: sums × lanes, bias included.
            at: of these channels in the constants.
            y: flat index in the output.
            other: flat index in the residual tensor; None without one.
            order: which channel each lane is; None: they are in order.
        """
