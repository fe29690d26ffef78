"""Elementwise float operators of one value and constants become one function of that value."""

import math

from edgekiln.compiler.ir.function import Function, FunctionStep
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.ops import Map
from edgekiln.compiler.passes.function_steps import STEPS, Operand
from edgekiln.compiler.passes.rewriter import Rewriter


class Seen:
    """The functions found so far in a walk over the graph, each with the value it starts from."""

    def __init__(self, rw: Rewriter) -> None:
        self._rw = rw
        self._known: dict[str, tuple[str, Function]] = {}

    def take(self, node: Node) -> bool:
        """Emit the function that ends in `node`; False if it is none of one value.

        Functions inside it go when nobody else needs them.
        """
        rw, op, bounds = self._rw, onnx_op(node), self._rw.clip_range(node)
        clip = bounds is not None
        if not clip and op.op_type not in STEPS:
            return False
        names = [name for name in (node.inputs[:1] if clip else node.inputs) if name]
        roots = {self._root(name) for name in names if rw.constant(name) is None}
        if len(roots) != 1:
            return False
        (root,) = roots
        source, result = rw.source(root), rw.graph.tensors[node.name]
        if source is None or (source.shape, result.dtype) != (result.shape, "float32"):
            return False
        steps: list[FunctionStep] = []
        operands = [self._operand(name, steps) for name in names]
        if None in operands:
            return False
        known = tuple(operand for operand in operands if operand is not None)
        # Value 0 is the argument, so that of the next step is one more than there are steps.
        first = len(steps) + 1
        more = _clip(known[0], bounds, first) if bounds else STEPS[op.op_type](known, op, first)
        if more is None:
            return False
        function = (*steps, *more)
        self._known[node.name] = (root, function)
        rw.make(Map(function=function), (root,), node.name)
        return True

    def _root(self, name: str) -> str:
        return self._known[name][0] if name in self._known else name

    def _operand(self, name: str, steps: list[FunctionStep]) -> Operand | None:
        """The value `name` is, with the steps to it appended; None for more than a number."""
        constant = self._rw.constant(name)
        if constant is not None:
            return float(constant.reshape(-1)[0]) if constant.size == 1 else None
        if name not in self._known:
            return 0
        # The operand's steps get new numbers here; a step that is there already is not made twice,
        # such as those of x in x · sigmoid(x).
        places = {0: 0}
        for place, step in enumerate(self._known[name][1], 1):
            operands = (places[v] if isinstance(v, int) else v for v in step.operands)
            moved = FunctionStep(step.op, tuple(operands))
            if moved not in steps:
                steps.append(moved)
            places[place] = steps.index(moved) + 1
        return places[len(places) - 1]


def _clip(x: Operand, bounds: tuple[float, float], first: int) -> list[FunctionStep]:
    steps = []
    for op, bound in zip(("Max", "Min"), bounds, strict=True):
        if math.isfinite(bound):
            steps.append(FunctionStep(op, (x, bound)))
            x = first + len(steps) - 1
    return steps
