"""What all operations have in common, and the node that applies one to tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from edgekiln.compiler.ir.codes import Finish, Quant, shift_fields
from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.ir.memory import NO_HALO, Halo
from edgekiln.compiler.ir.tensor import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Op:
    """An operation without its operands. It answers what passes ask, so that none lists names.

    A new one is a dataclass with a field for each number it needs. Codes of its result lie in
    fields that are `Codes`; everything else that a pass may want to know has a safe answer here.
    """

    KIND: ClassVar[str]  # its name in programs and reports
    # Its rank-4 operands and results are images, which lie channels-last.
    is_image: ClassVar[bool] = False
    # Its operands and results must agree in their layout: an image on one side makes all images.
    spreads_layout: ClassVar[bool] = False
    # Floats that are the program's own input or output may stay in ONNX's order beside an image.
    turns_edges: ClassVar[bool] = False
    # It wants all in ONNX's order; where a neighbour wants an image channels-last, it is copied.
    on_rows: ClassVar[bool] = False
    # It reads bytes that stand for themselves, too, such as a camera's.
    takes_bytes: ClassVar[bool] = False
    # Its multiplier holds the scales of what it reads: it may read another tensor with the same
    # codes and zero point.
    knows_scales: ClassVar[bool] = False
    # Its result holds each value of its operand once: a function may as well come before it.
    permutes: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        return self.KIND

    def shifted(self, by: int) -> Self:
        """The same operation whose result's codes, and zero point, are larger by `by`."""
        return shift_fields(self, by)

    def renamed(self, names: Mapping[str, str]) -> "Op":
        """The same operation with other names of tensors, where it names any itself."""
        del names
        return self

    def wants_rows(self, tensor: Tensor) -> bool:
        """Whether this operand or result must lie in ONNX's order."""
        del tensor
        return self.on_rows

    def reads_border(self, x: Tensor, y: Tensor) -> Halo:
        """The border that it reads around its first operand to make its result."""
        del x, y
        return NO_HALO

    def writes_parts(self) -> bool:
        """Whether its kernel can write its result as some channels of a wider image."""
        return False

    def takes_residual(self) -> bool:
        """Whether it can add another operand to its result."""
        return False

    def with_residual(self, conv_quant: Quant | None, finish: Finish) -> "Op":
        """The operation with another operand added, then `finish`; `conv_quant` is its own
        result's so far.
        """
        raise NotImplementedError(self.kind)

    @property
    def dequantizes(self) -> bool:
        """Whether it makes floats of codes, and may go on with them."""
        return False

    def takes_quantization(self) -> bool:
        """Whether it makes floats that it can round to codes before it stores them."""
        return False

    def takes_function(self) -> bool:
        """Whether it can apply a function to its floats before it stores them."""
        return False

    def with_function(self, function: Function) -> "Op":
        """The operation with a function applied to its floats, where `takes_function` says that it
        can.
        """
        raise NotImplementedError(self.kind)

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        """What does not fit between its operands and its results; empty if all does.

        Operands that are constants without a tensor are left out.
        """
        del xs, ys
        return ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """An operation applied: it reads `inputs` and makes `outputs`."""

    op: Op
    inputs: tuple[str, ...]  # "" for an absent optional input
    outputs: tuple[str, ...]
    reason: str = ""  # why it stayed float

    @property
    def name(self) -> str:
        return self.outputs[0]

    def renamed(self, names: Mapping[str, str]) -> "Node":
        """The node with other operands and results, those inside its operation too; the node
        itself, if it names none of them.
        """
        inputs = tuple(names.get(name, name) for name in self.inputs)
        outputs = tuple(names.get(name, name) for name in self.outputs)
        op = self.op.renamed(names)
        if (inputs, outputs, op) == (self.inputs, self.outputs, self.op):
            return self
        return replace(self, op=op, inputs=inputs, outputs=outputs)
