"""Reductions over any axes, as pools, as products with ones, and as functions of these."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx

    Nodes = list[onnx.NodeProto] | None

# Of the other reductions: what is done to each value, and to the sum.
_SQUARE = "square"  # a product with itself, which is no operator
_FUNCTIONS = {
    "ReduceL1": ("Abs", ""), "ReduceL2": (_SQUARE, "Sqrt"), "ReduceLogSum": ("", "Log"),
    "ReduceSumSquare": (_SQUARE, ""),
}  # fmt: skip
_MOST_ADDED = 1024  # values along an axis, whose matrix has a row and a column for each
_AXES_ARE_AN_OPERAND = 18  # since this operator set; those of a ReduceSum always were one here


@dataclass(frozen=True, kw_only=True)
class _Reduction:
    """A reduction over known axes behind the batch."""

    shape: tuple[int, ...]  # of the operand behind the batch
    axes: tuple[int, ...]  # in ascending order, none of them the batch's
    result: tuple[int, ...]  # behind the batch, with the axes that `keepdims` keeps

    @property
    def rank(self) -> int:
        """Axes of the operand."""
        return 1 + len(self.shape)

    @property
    def kept(self) -> tuple[int, ...]:
        """The axes behind the batch that stay."""
        return tuple(axis for axis in range(1, self.rank) if axis not in self.axes)

    def extents(self, axes: Sequence[int]) -> list[int]:
        """The extents of these axes."""
        return [self.shape[axis - 1] for axis in axes]


def mean_or_sum(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """A mean or a sum over any axes but the batch's.

    Means that have a pool stay, and sums become a pool times a number; over the channels of an
    image it is a convolution, else a product, with a matrix of equal numbers.
    """
    found = _reduction(facts, node)
    if found is None:
        return None
    count = math.prod(found.extents(found.axes))
    is_sum = node.op_type == "ReduceSum"
    w = NodeWriter(facts=facts, node=node)
    source, shape = node.input[0], (-1, *found.result)
    # Pixels of images and tokens of sequences, (N, C, H, W) and (N, T, C).
    if (found.rank, found.axes) in ((4, (2, 3)), (3, (1,))):
        if not is_sum:
            return None
        keepdims = operators.attributes(node).get("keepdims", 1)
        pooled = _reduced(w, "ReduceMean", node, found.axes, keepdims=keepdims)
        w.op("Mul", pooled, w.constant(np.array(count, np.float32)), result=node.output[0])
        return w.nodes
    each = np.float32(1 if is_sum else 1 / count)
    if (found.rank, found.axes) == (4, (1,)):
        weight = w.constant(np.full((1, count, 1, 1), each, np.float32))
        reduced = w.op("Conv", source, weight, kernel_shape=[1, 1])
    else:
        rows = _last(w, source, found, (*found.extents(found.kept), count))
        reduced = w.op("MatMul", rows, w.constant(np.full((count, 1), each, np.float32)))
    w.op("Reshape", reduced, w.numbers(*shape), result=node.output[0])
    return w.nodes


def extreme(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """The largest or the least value over any axes but the batch's: a pool over an image that has
    them for its pixels. The least is the negative of the largest negative.
    """
    found = _reduction(facts, node)
    if found is None:
        return None
    w = NodeWriter(facts=facts, node=node)
    source = node.input[0]
    count = math.prod(found.extents(found.axes))
    if (found.rank, found.axes) != (4, (2, 3)):
        kept = math.prod(found.extents(found.kept))
        # (N, kept, count, 1): what is reduced are the pixels.
        source = _last(w, source, found, (kept, count, 1))
    if node.op_type == "ReduceMin":
        source = w.op("Neg", source)
    source = w.op("GlobalMaxPool", source)
    if node.op_type == "ReduceMin":
        source = w.op("Neg", source)
    w.op("Reshape", source, w.numbers(-1, *found.result), result=node.output[0])
    return w.nodes


def of_function(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Sums of squares or of magnitudes, and the root or the logarithm of such a sum."""
    found = _reduction(facts, node)
    if found is None:
        return None
    before, behind = _FUNCTIONS[node.op_type]
    w = NodeWriter(facts=facts, node=node)
    x = node.input[0]
    if before:
        x = w.op("Mul", x, x) if before == _SQUARE else w.op(before, x)
    total = _sum(w, x, found, result="" if behind else node.output[0])
    if behind:
        w.op(behind, total, result=node.output[0])
    return w.nodes


def log_sum_exp(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """max + log(Σ e^(x - max)): powers of differences stay inside 0 … 1."""
    found = _reduction(facts, node)
    if found is None:
        return None
    w = NodeWriter(facts=facts, node=node)
    most = _reduced(w, "ReduceMax", node, found.axes, keepdims=1)
    difference = w.op("Add", node.input[0], w.op("Neg", most))
    total = _sum(w, w.op("Exp", difference), found)
    flat = w.op("Reshape", most, w.numbers(-1, *found.result))
    w.op("Add", w.op("Log", total), flat, result=node.output[0])
    return w.nodes


def length_of_image(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """GlobalLpPool with p = 1 or 2: the sum of magnitudes, or the root of that of squares."""
    fixed = facts.fixed(node.input[0])
    reduction = {1: "ReduceL1", 2: "ReduceL2"}.get(operators.attributes(node).get("p", 2))
    if fixed is None or len(fixed) < 2 or reduction is None:
        return None
    w = NodeWriter(facts=facts, node=node)
    axes = tuple(range(2, 1 + len(fixed)))
    _reduced(w, reduction, node, axes, keepdims=1, result=node.output[0])
    return w.nodes


def _sum(w: NodeWriter, source: str, found: _Reduction, result: str = "") -> str:
    keepdims = int(len(found.result) == len(found.shape))
    return w.op("ReduceSum", source, w.numbers(*found.axes), result=result, keepdims=keepdims)


def running_sum(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """The sums of the first values, or the last ones, along an axis: a product with a triangle."""
    fixed, axis = facts.fixed(node.input[0]), facts.constant(node, 1)
    if fixed is None or axis is None:
        return None
    rank = 1 + len(fixed)
    along = int(axis.reshape(-1)[0]) % rank
    if along == 0 or fixed[along - 1] > _MOST_ADDED:
        return None
    given = operators.attributes(node)
    count = fixed[along - 1]
    # (value, sum): which values are in which sum.
    matrix = np.triu(np.ones((count, count), np.float32), given.get("exclusive", 0))
    matrix = matrix.T if given.get("reverse", 0) else matrix
    w = NodeWriter(facts=facts, node=node)
    order = list(range(rank))
    order[along], order[-1] = order[-1], order[along]
    moved = along != rank - 1
    source = w.op("Transpose", node.input[0], perm=order) if moved else node.input[0]
    summed = w.op("MatMul", source, w.constant(matrix), result="" if moved else node.output[0])
    if moved:
        w.op("Transpose", summed, perm=order, result=node.output[0])
    return w.nodes


def _reduction(facts: ModelFacts, node: "onnx.NodeProto") -> _Reduction | None:
    """What a node reduces; None where its axes are not known, or hold the batch's."""
    shape, result = facts.fixed(node.input[0]), facts.fixed(node.output[0])
    given = operators.attributes(node)
    axes = given.get("axes", [])
    if len(node.input) > 1 and node.input[1]:
        constant = facts.constant(node, 1)
        axes = [] if constant is None else constant.reshape(-1).tolist()
    if shape is None or result is None or not len(axes):
        return None
    rank = 1 + len(shape)
    found = tuple(sorted({int(axis) % rank for axis in axes}))
    if found[0] == 0:
        return None
    return _Reduction(shape=shape, axes=found, result=result)


def _last(w: NodeWriter, source: str, found: _Reduction, shape: Sequence[int]) -> str:
    """The operand with the reduced axes behind the others, in this shape behind the batch."""
    order = (0, *found.kept, *found.axes)
    if order != tuple(range(found.rank)):
        source = w.op("Transpose", source, perm=list(order))
    if [*found.extents(found.kept), *found.extents(found.axes)] != [*shape]:
        source = w.op("Reshape", source, w.numbers(-1, *shape))
    return source


def _reduced(
    w: NodeWriter, op: str, node: "onnx.NodeProto", axes: tuple[int, ...], *, keepdims: int,
    result: str = "",
) -> str:  # fmt: skip
    """The operand of a node, reduced by another operator."""
    if w.facts.opset < _AXES_ARE_AN_OPERAND:
        return w.op(op, node.input[0], result=result, axes=list(axes), keepdims=keepdims)
    return w.op(op, node.input[0], w.numbers(*axes), result=result, keepdims=keepdims)
