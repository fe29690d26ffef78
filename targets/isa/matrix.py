"""What a matrix unit offers a kernel, where the instruction set has one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Buffer = Any  # tvm.tirx.Buffer


@dataclass(frozen=True, kw_only=True)
class MatrixUnit(ABC):
    """A few registers, each a small matrix, and their product.

    An accumulator is rows × columns int32: pixels and output channels. Its left operand is rows ×
    depth bytes of `activation`, its right one depth / 4 rows of columns × 4 int8: weights in the
    order of `vpdpbusd`. A register's shape is configured before it is used. The methods emit
    statements, for TIR has no values of such a type. The other fields tell the machine's cycles to
    the choice of a tile.
    """

    registers: int
    rows: int  # at most, of a register
    columns: int  # of an accumulator
    row_bytes: int  # at most, of a register
    dot_cycles: float  # between two products
    dot_latency: float  # until an accumulator can be used again
    load_cycles: float  # of a full register in the nearest cache
    stream_cycles: float  # of a full register of weights, which come from the second cache
    store_cycles: float

    @abstractmethod
    def configuration(self, shapes: "list[tuple[int, int]]") -> "NDArray[np.uint8]":
        """What `configure` wants in memory: (rows, bytes of a row) of each register in turn."""

    @abstractmethod
    def configure(self, configuration: Buffer) -> None:
        """Begin: until `release` the registers have these shapes."""

    @abstractmethod
    def release(self) -> None:
        """End: the registers hold nothing that a change of threads would have to save."""

    @abstractmethod
    def zero(self, register: int) -> None: ...

    @abstractmethod
    def load(self, register: int, buffer: Buffer, at: Any, stride: int) -> None:
        """Rows from element `at` on, `stride` bytes apart; 0 repeats one row."""

    @abstractmethod
    def dot(self, acc: int, left: int, right: int) -> None:
        """acc += left · right, exact modulo 2³²."""

    @abstractmethod
    def store(self, register: int, buffer: Buffer, at: Any, stride: int) -> None:
        """Rows to element `at` on, `stride` bytes apart."""
