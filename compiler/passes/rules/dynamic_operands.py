"""What sums of run-time codes read, and what follows them."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.dynamic_ops import (
    RANGE,
    THEMSELVES,
    FinishImageSums,
    FinishSums,
    GivenRange,
    RangePart,
    Recode,
)
from edgekiln.compiler.ir.moves import Reshape
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.dynamic_scales import Scales
from edgekiln.compiler.passes.walk import is_operator


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitWeights:
    """Weights without their zero points, w - v = values + shift, a channel each.

    Args:
        values: (channels, …) int8.
        shifts: (channels,) int32; 0 where all of w - v fits int8.
        columns: (channels,) int32, Σ (w - v).
    """

    values: NDArray[np.int8]
    shifts: NDArray[np.int32]
    columns: NDArray[np.int32]


def split(weight: NDArray[np.generic], zeros: NDArray[np.int32]) -> SplitWeights:
    """Args: weight: (channels, n) of bytes; zeros: one, or one a channel."""
    centred = weight.astype(np.int32) - zeros.reshape(-1, 1)
    low, high = centred.min(1), centred.max(1)
    shifts = np.where((low < -128) | (high > 127), low + 128, 0).astype(np.int32)
    return SplitWeights(
        values=(centred - shifts[:, None]).astype(np.int8),
        shifts=shifts,
        columns=centred.sum(1, dtype=np.int32),
    )


def no_form(rw: Rewriter, node: Node) -> str:
    """Why a MatMulInteger or ConvInteger has no form here; "" when it has one."""
    graph, inputs = rw.graph, (*node.inputs, "", "")
    conv = is_operator(node, "ConvInteger")
    weight = graph.constants.get(inputs[1])
    if inputs[0] in graph.constants:
        return "its left operand is constant"
    if conv and (weight is None or weight.ndim not in (3, 4)):
        return "its weights are not constant, or those of more than two axes"
    if conv and inputs[3] and inputs[3] not in graph.constants:
        return "the zero points of its weights are not constant"
    if prod(_shape(rw, inputs[2])) > 1:
        return "its zero points differ from row to row"
    right = _shape(rw, inputs[1])
    channels = right[0] if conv else (right[-1] if len(right) > 1 else 1)
    if prod(_shape(rw, inputs[3])) not in (1, channels):
        return "its zero points differ from matrix to matrix"
    return ""


def _shape(rw: Rewriter, name: str) -> tuple[int, ...]:
    """The shape of an operand; an absent one is a number."""
    constant = rw.graph.constants.get(name)
    if not name or constant is not None:
        return () if constant is None else constant.shape
    return rw.graph.tensors[name].shape


@dataclass(frozen=True)
class Operands:
    """The operands of a MatMulInteger or ConvInteger, and what is made for it."""

    rw: Rewriter
    node: Node

    def codes(self, place: int) -> Tensor:
        """An operand's codes, which stand for themselves."""
        graph, name = self.rw.graph, self.node.inputs[place]
        key = f"{name}:codes"
        if name in graph.constants:
            values = graph.constants[name]
            graph.constants[key] = values
            return graph.put(
                Tensor(name=key, shape=values.shape, dtype=values.dtype.name, quant=THEMSELVES)
            )
        tensor = graph.tensors[name]
        if tensor.quant == THEMSELVES:
            return tensor
        if key not in graph.tensors:
            graph.put(replace(tensor, name=key, quant=THEMSELVES))
            self.rw.make(Recode(), (name,), key)
        return graph.tensors[key]

    def matrix(self, place: int) -> Tensor:
        """The same of a product's, of which a vector is a row or a column."""
        found = self.codes(place)
        if len(found.shape) > 1:
            return found
        return self._seen(found, (1, *found.shape) if place == 0 else (*found.shape, 1))

    def of_rank(self, tensor: Tensor, rank: int) -> Tensor:
        """The tensor with axes of extent 1 before its own."""
        return self._seen(tensor, (*[1] * (rank - len(tensor.shape)), *tensor.shape))

    def image(self, x: Tensor) -> Tensor:
        """(N, C, W) as (N, C, 1, W)."""
        return x if len(x.shape) == 4 else self._seen(x, (*x.shape[:2], 1, x.shape[2]))

    def _seen(self, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The same values in another shape."""
        if tensor.shape == shape:
            return tensor
        graph, name = self.rw.graph, f"{tensor.name}:{'x'.join(map(str, shape))}"
        if tensor.name in graph.constants:
            graph.constants[name] = graph.constants[tensor.name].reshape(shape)
            return graph.put(replace(tensor, name=name, shape=shape))
        if name not in graph.tensors:
            graph.put(replace(tensor, name=name, shape=shape))
            self.rw.make(Reshape(), (tensor.name,), name)
        return graph.tensors[name]

    def zero_operand(self, place: int) -> Tensor | None:
        """The zero points at a place, where they are no constant."""
        name = "".join(self.node.inputs[place : place + 1])
        return None if not name or name in self.rw.graph.constants else self.rw.graph.tensors[name]

    def constant_zeros(self, place: int) -> NDArray[np.int32] | None:
        """The zero points at a place: one, 0 where there are none, or one a channel; None where
        they are no constant.
        """
        name = "".join(self.node.inputs[place : place + 1])
        if not name:
            return np.zeros(1, np.int32)
        found = self.rw.graph.constants.get(name)
        return None if found is None else found.reshape(-1).astype(np.int32)

    def range(self, scales: Scales) -> Tensor:
        """The range of the left operand: that of the DynamicQuantizeLinear it is of, or its parts
        put together.
        """
        graph, zero = self.rw.graph, self.zero_operand(2)
        makers = [self.rw.made.get(name) for name in (zero.name if zero else "", scales.scale)]
        parts = [m for m in makers if m is not None and isinstance(m.op, RangePart)]
        sources = {part.inputs[0] for part in parts}
        # Of sums that stay integers nobody asks for the scale.
        if len(parts) == 1 + bool(scales.scale) and len(sources) == 1:
            return graph.tensors[sources.pop()]
        zeros = self.constant_zeros(2)
        if zeros is not None and not scales.scale:
            return self._known_range(float(zeros[0]))
        op = GivenRange(
            scale=None if scales.scale else 1.0, zero=None if zeros is None else int(zeros[0])
        )
        operands = [graph.tensors[scales.scale]] if scales.scale else []
        return self.made(op, (*operands, *([zero] if zero else [])), RANGE, "range")

    def _known_range(self, zero: float) -> Tensor:
        name = f"{self.node.name}:range"
        self.rw.graph.constants[name] = np.array([1.0, zero], np.float32)
        return self.rw.graph.put(Tensor(name=name, shape=RANGE, dtype="float32"))

    def made(
        self, op: Op, operands: tuple[Tensor, ...], shape: tuple[int, ...], what: str,
        like: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Emit an operation whose result nobody else knows."""
        dtype = "float32" if shape == RANGE and what == "range" else "int32"
        made = Tensor(name=f"{self.node.name}:{what}", shape=shape, dtype=dtype)
        if like is not None:
            made = replace(like, name=made.name)
        self.rw.graph.put(made)
        self.rw.make(op, tuple(each.name for each in operands), made.name)
        return made

    def sums(self, op: Op, operands: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """Emit an operation that keeps sums; kernels work on them as on codes."""
        taken = f"{self.node.name}:sums" in self.rw.graph.tensors
        name = f"{self.node.name}:{'row_' if taken else ''}sums"
        made = Tensor(name=name, shape=shape, dtype="int32", quant=THEMSELVES)
        self.rw.graph.put(made)
        self.rw.make(op, tuple(each.name for each in operands), name)
        return made

    def finish(
        self, kind: type[FinishSums], scales: Scales, inputs: tuple[Tensor, Tensor],
        rows: Tensor | None, parts: SplitWeights,
    ) -> None:  # fmt: skip
        """Emit what finishes the sums of constant weights."""
        op = kind(
            row_sums=rows is not None, columns=parts.columns, shifts=parts.shifts,
            mult=scales.mult, bias=scales.bias, finish=scales.finish,
        )  # fmt: skip
        self.store(op, [*inputs, *([rows] if rows else [])], scales)

    def store(self, op: FinishSums, inputs: list[Tensor], scales: Scales) -> None:
        """Emit the operation that makes the node's result, or that of what follows it."""
        graph, names = self.rw.graph, tuple(each.name for each in inputs)
        self.rw.absorbed.update(node.name for node in scales.absorbed)
        result = graph.tensors[scales.output]
        shape = inputs[0].shape
        of_image = isinstance(op, FinishImageSums)
        if of_image and (op.mult is None or result.shape != shape):
            # Kernels know the order of an image's sums; integers of the model's have ONNX's.
            quant = THEMSELVES if op.mult is None else None
            inner = replace(result, name=f"{result.name}:image", shape=shape, quant=quant)
            graph.put(inner)
            self.rw.make(op, names, inner.name)
            if op.mult is None:
                self.rw.make(Recode(), (self._seen(inner, result.shape).name,), result.name)
            else:
                self.rw.make(Reshape(), (inner.name,), result.name)
            return
        self.rw.make(op, names, result.name)
