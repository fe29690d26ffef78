"""What a matrix unit offers a kernel, where the instruction set has one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.targets.isa.expressions import Buffer, Index

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MatrixUnit(ABC):
    """A few registers, each a small matrix, and their product.

    An accumulator is rows × columns int32: pixels and output channels. Its left operand is rows ×
    depth bytes of `activation`, its right one depth / 4 rows of columns × 4 int8: weights in the
    order of `vpdpbusd`. A register's shape is configured before it is used. The methods emit
    statements, for TIR has no values of such a type. The fields that are cycles tell the machine to
    the choice of a tile.

    Args:
        rows: the most that a register has.
        columns: of an accumulator, int32.
        row_bytes: the most that a row of a register has.
        dot_cycles: between the beginnings of two products.
        dot_latency: until an accumulator can be used again.
        load_cycles: of a full register that lies in the nearest cache.
        stream_cycles: of a full register of weights, which come from the second-level cache.
        store_cycles: of a full register.
        tile_cycles: addresses, loop control and the first loads of a tile.
    """

    registers: int
    rows: int
    columns: int
    row_bytes: int
    dot_cycles: float
    dot_latency: float
    load_cycles: float
    stream_cycles: float
    store_cycles: float
    tile_cycles: float

    @abstractmethod
    def configuration(self, shapes: "list[tuple[int, int]]") -> "NDArray[np.uint8]":
        """Return what `configure` wants in memory: (rows, bytes of a row) of each register."""

    @abstractmethod
    def configure(self, configuration: Buffer) -> None:
        """Begin: until `release` the registers have these shapes."""

    @abstractmethod
    def release(self) -> None:
        """End: the registers hold nothing that a change of threads would have to save."""

    @abstractmethod
    def zero(self, register: int) -> None:
        """Set every element to 0."""

    @abstractmethod
    def load(self, register: int, buffer: Buffer, at: Index, stride: int) -> None:
        """Load rows from element `at` on, `stride` bytes apart; 0 repeats one row."""

    @abstractmethod
    def dot(self, acc: int, left: int, right: int) -> None:
        """Add left · right to `acc`, exactly modulo 2³²."""

    @abstractmethod
    def store(self, register: int, buffer: Buffer, at: Index, stride: int) -> None:
        """Store rows to element `at` on, `stride` bytes apart."""
