"""A value of the graph: its type, its quantization and how it lies in memory."""

from dataclasses import dataclass
from math import prod
from typing import Literal

from edgekiln.compiler.ir.codes import Quant
from edgekiln.compiler.ir.memory import NO_HALO, Halo, Nhwc

# "NHWC": a tensor whose ONNX order is NCHW lies channels-last in memory. "plain": as ONNX has it.
Layout = Literal["plain", "NHWC"]

# The least and the largest code, by type.
QMIN = {"int8": -128, "uint8": 0, "int16": -(1 << 15)}
QMAX = {"int8": 127, "uint8": 255, "int16": (1 << 15) - 1}
BYTES = frozenset({"int8", "uint8"})  # the types of codes for which there are tables
WORD = "int16"  # the type of codes of 16 bits


@dataclass(frozen=True, kw_only=True)
class Part:
    """The channels of a concatenation's result that one of its operands is, in the same memory."""

    whole: str  # the result
    start: int  # its first channel that is the operand's
    channels: int  # of the result
    completes: bool  # whether nothing of the result is missing when the operand is there


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A value of the graph. `shape` is ONNX's (NCHW for images) whatever the layout in memory.

    It carries its quantization, which neither ONNX's nor Relax's types can, so that no pass has to
    look for it again.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str  # numpy name
    quant: Quant | None = None
    layout: Layout = "plain"
    halo: Halo = NO_HALO
    part: Part | None = None

    @property
    def elements(self) -> int:
        """How many values it has, without a border."""
        return prod(self.shape)

    @property
    def is_array(self) -> bool:
        """Whether kernels of our own work on it: quantized or float32."""
        return self.quant is not None or self.dtype == "float32"

    def strides(self) -> tuple[tuple[int, ...], int]:
        """Elements in memory from one index to the next on each ONNX axis; and to the first one."""
        if self.layout == "NHWC":
            memory = self.nhwc()
            # In the order of ONNX's axes: N, C, H, W.
            return (memory.image, 1, memory.row, memory.pixel), memory.index(0, 0, 0, 0)
        return dense_strides(self.shape), 0

    def nhwc(self) -> Nhwc:
        """How the array lies in memory; more than four axes are seen as four."""
        quant = self.quant or Quant(scale=1.0, zero_point=0)
        if self.layout == "NHWC":
            n, c, h, w = self.shape
        else:
            # (n, …, w, c) from both ends; all axes between are the rows of one tall image.
            *outer, c = self.shape or (1,)
            n, *middle = outer or [1]
            *rows, w = middle or [1]
            h = prod(rows)
        return Nhwc(
            n=n,
            h=h,
            w=w,
            c=c,
            dtype=self.dtype,
            halo=self.halo,
            scale=quant.scale,
            zero_point=quant.zero_point,
            pitch=self.part.channels if self.part else 0,
        )

    def memory_order(self) -> tuple[int, ...]:
        """The ONNX axes in memory order, outermost first, without those of extent 1."""
        axes = (0, 2, 3, 1) if self.layout == "NHWC" else range(len(self.shape))
        return tuple(axis for axis in axes if self.shape[axis] > 1)

    @property
    def is_plain(self) -> bool:
        """Whether the values lie in ONNX's order, whatever the layout is called."""
        order = self.memory_order()
        return order == tuple(sorted(order)) and not self.halo


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements from one index to the next on each axis of an array without gaps."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
