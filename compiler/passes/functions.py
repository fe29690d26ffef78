"""Elementwise float operators of one value and constants become one function of that value."""

import math
from collections.abc import Callable

from edgekiln.compiler.ir.function import Function, FunctionStep
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import Onnx, onnx_op
from edgekiln.compiler.ir.ops import Map
from edgekiln.compiler.kernels.function import ARITHMETIC, FUNCTIONS
from edgekiln.compiler.passes.rewriter import Rewriter

Operand = int | float
# What an operator computes from its operands and attributes: steps whose values are counted from
# `first` on.
Steps = Callable[[tuple[Operand, ...], Onnx, int], list[FunctionStep]]


def _one(op_type: str) -> Steps:
    return lambda operands, _op, _first: [FunctionStep(op_type, operands)]


def _any_number(op_type: str) -> Steps:
    """A rule for an operator that takes one operand and more: two at a time."""

    def steps(operands: tuple[Operand, ...], _op: Onnx, first: int) -> list[FunctionStep]:
        left, *others = operands
        found = []
        for right in others or (left,):  # the greatest of one value is that of it and itself
            found.append(FunctionStep(op_type, (left, right)))
            left = first + len(found) - 1
        return found

    return steps


def _gate(x: Operand, alpha: float, beta: float, first: int) -> list[FunctionStep]:
    """alpha·x + beta, between 0 and 1."""
    return [
        FunctionStep("Mul", (x, alpha)),
        FunctionStep("Add", (first, beta)),
        FunctionStep("Max", (first + 1, 0.0)),
        FunctionStep("Min", (first + 2, 1.0)),
    ]


def _hard_sigmoid(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep]:
    return _gate(operands[0], op.real("alpha", 0.2), op.real("beta", 0.5), first)


def _hard_swish(operands: tuple[Operand, ...], _op: Onnx, first: int) -> list[FunctionStep]:
    gate = _gate(operands[0], 1 / 6, 0.5, first)
    return [*gate, FunctionStep("Mul", (operands[0], first + len(gate) - 1))]


def _gelu(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep]:
    """x·Φ(x), by erf or, with approximate = tanh, as the ONNX operator specification says."""
    (x,) = operands
    # 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))); else 0.5·x·(1 + erf(x / √2)). The half first, for
    # twice the largest numbers is infinite.
    if op.text("approximate", "none") == "tanh":
        return [
            FunctionStep("Mul", (x, x)),
            FunctionStep("Mul", (first, 0.044715)),
            FunctionStep("Add", (first + 1, 1.0)),
            FunctionStep("Mul", (first + 2, x)),
            FunctionStep("Mul", (first + 3, math.sqrt(2 / math.pi))),
            FunctionStep("Tanh", (first + 4,)),
            FunctionStep("Add", (first + 5, 1.0)),
            FunctionStep("Mul", (x, 0.5)),
            FunctionStep("Mul", (first + 6, first + 7)),
        ]
    return [
        FunctionStep("Mul", (x, math.sqrt(1 / 2))),
        FunctionStep("Erf", (first,)),
        FunctionStep("Add", (first + 1, 1.0)),
        FunctionStep("Mul", (x, 0.5)),
        FunctionStep("Mul", (first + 2, first + 3)),
    ]


def _swish(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep]:
    """Swish is x·sigmoid(alpha·x)."""
    (x,) = operands
    return [
        FunctionStep("Mul", (x, op.real("alpha", 1.0))),
        FunctionStep("Sigmoid", (first,)),
        FunctionStep("Mul", (x, first + 1)),
    ]


def _mish(operands: tuple[Operand, ...], _op: Onnx, first: int) -> list[FunctionStep]:
    """x·tanh(ln(1 + eˣ)) = x·n / (n + 2) with n = eˣ·(eˣ + 2): no digits lost near eˣ = 0.

    From 20 on the factor is 1 in float32, and n does not overflow there.
    """
    (x,) = operands
    return [
        FunctionStep("Min", (x, 20.0)),
        FunctionStep("Exp", (first,)),
        FunctionStep("Add", (first + 1, 2.0)),
        FunctionStep("Mul", (first + 1, first + 2)),
        FunctionStep("Add", (first + 3, 2.0)),
        FunctionStep("Div", (first + 3, first + 4)),
        FunctionStep("Mul", (x, first + 5)),
    ]


def _celu(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep]:
    """max(x, 0) + alpha·(e^(min(x, 0) / alpha) - 1)."""
    (x,) = operands
    alpha = op.real("alpha", 1.0)
    return [
        FunctionStep("Max", (x, 0.0)),
        FunctionStep("Min", (x, 0.0)),
        FunctionStep("Div", (first + 1, alpha)),
        FunctionStep("Exp", (first + 2,)),
        FunctionStep("Add", (first + 3, -1.0)),
        FunctionStep("Mul", (first + 4, alpha)),
        FunctionStep("Add", (first, first + 5)),
    ]


def _elu(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep]:
    """max(x, 0) + alpha·(e^(min(x, 0)) - 1)."""
    (x,) = operands
    return [
        FunctionStep("Max", (x, 0.0)),
        FunctionStep("Min", (x, 0.0)),
        FunctionStep("Exp", (first + 1,)),
        FunctionStep("Add", (first + 2, -1.0)),
        FunctionStep("Mul", (first + 3, op.real("alpha", 1.0))),
        FunctionStep("Add", (first, first + 4)),
    ]


def _selu(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep]:
    """gamma·max(x, 0) + gamma·alpha·(e^(min(x, 0)) - 1); ONNX's defaults."""
    (x,) = operands
    alpha = op.real("alpha", 1.67326319217681884765625)
    gamma = op.real("gamma", 1.05070102214813232421875)
    return [
        FunctionStep("Max", (x, 0.0)),
        FunctionStep("Mul", (first, gamma)),
        FunctionStep("Min", (x, 0.0)),
        FunctionStep("Exp", (first + 2,)),
        FunctionStep("Add", (first + 3, -1.0)),
        FunctionStep("Mul", (first + 4, gamma * alpha)),
        FunctionStep("Add", (first + 1, first + 5)),
    ]


def _sign(operands: tuple[Operand, ...], _op: Onnx, first: int) -> list[FunctionStep]:
    """x·10³⁸·10³⁸, between -1 and 1: even of the smallest float more than 1. Not of NaN."""
    return [
        FunctionStep("Mul", (operands[0], 1e38)),
        FunctionStep("Mul", (first, 1e38)),
        FunctionStep("Max", (first + 1, -1.0)),
        FunctionStep("Min", (first + 2, 1.0)),
    ]


def _leaky_relu(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep]:
    """max(x, 0) + alpha·min(x, 0)."""
    (x,) = operands
    return [
        FunctionStep("Max", (x, 0.0)),
        FunctionStep("Min", (x, 0.0)),
        FunctionStep("Mul", (first + 1, op.real("alpha", 0.01))),
        FunctionStep("Add", (first, first + 2)),
    ]


STEPS: dict[str, Steps] = {
    **{op: _one(op) for op in (*ARITHMETIC, *FUNCTIONS)},
    **{op: _any_number(op) for op in ("Max", "Min")},
    "Neg": lambda operands, _op, _first: [FunctionStep("Mul", (*operands, -1.0))],
    "Reciprocal": lambda operands, _op, _first: [FunctionStep("Div", (1.0, *operands))],
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Gelu": _gelu,
    "LeakyRelu": _leaky_relu,
    "Swish": _swish,
    "Mish": _mish,
    "Celu": _celu,
    "Elu": _elu,
    "Selu": _selu,
    "Sign": _sign,
}


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
        if bounds is not None:
            steps += _clip(known[0], bounds, first)
        else:
            steps += STEPS[op.op_type](known, op, first)
        function = tuple(steps)
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
