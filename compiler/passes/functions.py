"""Elementwise float operators of one value and constants become one function of that value."""

import math

from edgekiln.compiler.ir.function import Function, FunctionStep
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.ops import Map
from edgekiln.compiler.passes.function_steps import STEPS, Operand
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.truth_steps import TRUTHS


class Seen:
    """The functions found so far in a walk over the graph, each with the value it starts from."""

    def __init__(self, rw: Rewriter) -> None:
        self._rw = rw
        self._known: dict[str, tuple[str, Function]] = {}

    def take(self, node: Node) -> bool:
        """Emit the function that ends in `node`; False if it is none of one value.

        Functions inside it go when nobody else needs them. What gives truth values has no kernel:
        of it, what functions read is remembered, and it stays for whoever else reads it.
        """
        rw, result = self._rw, self._rw.graph.tensors[node.name]
        bounds = rw.clip_range(node)
        names = [name for name in (node.inputs[:1] if bounds else node.inputs) if name]
        roots = {self._root(name) for name in names if rw.constant(name) is None}
        source = rw.source(next(iter(roots))) if len(roots) == 1 else None
        if source is None or source.shape != result.shape:
            return False
        function = self._function(node, names, bounds)
        if function is None or result.dtype not in ("float32", "bool"):
            return False
        self._known[node.name] = (source.name, function)
        if result.dtype == "bool":
            return False
        rw.make(Map(function=function), (source.name,), node.name)
        return True

    def _function(
        self, node: Node, names: list[str], bounds: tuple[float, float] | None
    ) -> Function | None:
        """What a node computes of a root, if there are steps for it.

        Args:
            names: of its operands.
            bounds: of a Clip or a Relu.
        """
        op = onnx_op(node)
        rule = None if op.domain else STEPS.get(op.op_type) or TRUTHS.get(op.op_type)
        if bounds is None and rule is None:
            return None
        steps: list[FunctionStep] = []
        operands = [self._operand(name, steps) for name in names]
        known = tuple(operand for operand in operands if operand is not None)
        if len(known) < len(operands):
            return None
        # Value 0 is the argument, so that of the next step is one more than there are steps.
        first = len(steps) + 1
        if bounds is not None:
            return (*steps, *_clip(known[0], bounds, first))
        more = rule(known, op, first) if rule else None
        return None if more is None else (*steps, *more)

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
