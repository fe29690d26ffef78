"""Reductions of floats over any axes, one group of neighbouring axes at a time."""

from itertools import groupby
from math import prod

import numpy as np

from edgekiln.compiler.ir.codes import FloatFinish
from edgekiln.compiler.ir.function import Function, FunctionStep
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.reduce_ops import Reduce, Reduction
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules import pooling

_ABSOLUTE: Function = (FunctionStep("Abs", (0,)),)
_SQUARE: Function = (FunctionStep("Mul", (0, 0)),)
# What is combined, and what is done to each value before and to the result after it.
_FORMS: dict[str, tuple[Reduction, Function, Function]] = {
    "ReduceL1": ("sum", _ABSOLUTE, ()),
    "ReduceL2": ("sum", _SQUARE, (FunctionStep("Sqrt", (0,)),)),
    "ReduceLogSum": ("sum", (), (FunctionStep("Log", (0,)),)),
    "ReduceMax": ("max", (), ()),
    "ReduceMean": ("sum", (), ()),
    "ReduceMin": ("min", (), ()),
    "ReduceProd": ("prod", (), ()),
    "ReduceSum": ("sum", (), ()),
    "ReduceSumSquare": ("sum", _SQUARE, ()),
}


def mean(rw: Rewriter, node: Node) -> str | None:
    """A pool where there is one; of floats any other mean, too."""
    reason = pooling.reduce_mean(rw, node)
    return reason if reason is None or rw.numbers.has_codes else reduce(rw, node)


def reduce(rw: Rewriter, node: Node) -> str | None:
    """Reduce over constant axes."""
    x = rw.source(node.inputs[0])
    axes = None if x is None else _axes(rw, node, x)
    if x is None or axes is None:
        return "its axes are not constant"
    if 0 in x.shape:
        return "it reduces no values"
    reduction, before, after = _FORMS[node.op.kind]
    if node.op.kind == "ReduceMean":
        after = (FunctionStep("Div", (0, float(prod(x.shape[axis] for axis in axes)))),)
    groups = _groups(x.shape, axes)
    name = x.name
    while True:
        # The last axes first: they are the ones whose values lie side by side.
        place = max(i for i, (_, reduced) in enumerate(groups) if reduced)
        sizes = [extent for extent, _ in groups]
        last = sum(reduced for _, reduced in groups) == 1
        rule = Reduce(
            reduction=reduction, outer=prod(sizes[:place]), extent=sizes[place],
            inner=prod(sizes[place + 1 :]), before=before,
            finish=FloatFinish(function=after) if last else FloatFinish(),
        )  # fmt: skip
        if last:
            rw.make(rule, (name,), node.name)
            return None
        groups[place : place + 1] = []
        part = Tensor(
            name=f"{node.name}:{place}", shape=tuple(size for size, _ in groups), dtype="float32"
        )
        rw.graph.put(part)
        rw.make(rule, (name,), part.name)
        name, before = part.name, ()


def _axes(rw: Rewriter, node: Node, x: Tensor) -> set[int] | None:
    """The axes that go; None where they are not known, or where there are none."""
    op, rank = onnx_op(node), len(x.shape)
    given = op.integers("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1]:
        constant = rw.graph.constants.get(node.inputs[1])
        if constant is None:
            return None
        given = tuple(np.atleast_1d(constant).tolist())
    if not given and op.integer("noop_with_empty_axes", 0):
        return None
    return {axis % rank for axis in given} if given else set(range(rank)) or None


def _groups(shape: tuple[int, ...], axes: set[int]) -> list[tuple[int, bool]]:
    """Neighbouring axes that go, or stay, as one, and whether they go. Axes of one value are in no
    neighbours' way.
    """
    wide = [(extent, axis in axes) for axis, extent in enumerate(shape) if extent > 1]
    groups = [
        (prod(extent for extent, _ in group), reduced)
        for reduced, group in groupby(wide, key=lambda each: each[1])
    ]
    return groups if any(reduced for _, reduced in groups) else [*groups, (1, True)]
