"""What elementwise operators compute of one value and constants, as steps of a function."""

import math
from collections.abc import Callable

from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.onnx_op import Onnx
from edgekiln.compiler.kernels.function import ARITHMETIC, FUNCTIONS

Operand = int | float
# What an operator computes from its operands and attributes: steps whose values are counted from
# `first` on; None where it is not one of these.
Steps = Callable[[tuple[Operand, ...], Onnx, int], list[FunctionStep] | None]


def one(op_type: str) -> Steps:
    """A step that is called as the operator is."""
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


def _softsign(operands: tuple[Operand, ...], _op: Onnx, first: int) -> list[FunctionStep]:
    """x / (1 + |x|)."""
    (x,) = operands
    return [
        FunctionStep("Abs", (x,)),
        FunctionStep("Add", (first, 1.0)),
        FunctionStep("Div", (x, first + 1)),
    ]


def _thresholded_relu(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep]:
    """x where it is above alpha, else 0."""
    (x,) = operands
    return [
        FunctionStep("Greater", (x, op.real("alpha", 1.0))),
        FunctionStep("Where", (first, x, 0.0)),
    ]


def _shrink(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep]:
    """x + bias below -lambd, x - bias above lambd, and 0 between them."""
    (x,) = operands
    bound, bias = op.real("lambd", 0.5), op.real("bias", 0.0)
    return [
        FunctionStep("Less", (x, -bound)),
        FunctionStep("Greater", (x, bound)),
        FunctionStep("Add", (x, bias)),
        FunctionStep("Sub", (x, bias)),
        FunctionStep("Where", (first + 1, first + 3, 0.0)),
        FunctionStep("Where", (first, first + 2, first + 4)),
    ]


def _prelu(operands: tuple[Operand, ...], _op: Onnx, first: int) -> list[FunctionStep]:
    """x, or where it is negative x times a slope."""
    x, slope = operands
    return [
        FunctionStep("Less", (x, 0.0)),
        FunctionStep("Mul", (x, slope)),
        FunctionStep("Where", (first, first + 1, x)),
    ]


def _power(operands: tuple[Operand, ...], _op: Onnx, first: int) -> list[FunctionStep] | None:
    """A power whose base or exponent is a number; of two activations none."""
    match operands:
        case int(x), float(exponent) if math.isfinite(exponent):
            return _to_constant(x, exponent, first)
        case float(base), int() if 0 < base < math.inf and base != 1:
            return [FunctionStep("Pow", operands)]
    return None


def _to_constant(x: int, exponent: float, first: int) -> list[FunctionStep]:
    """Products and roots where ONNX Runtime has such, or C's powf has their value."""
    known: dict[float, list[FunctionStep]] = {
        0.0: [FunctionStep("Where", (1.0, 1.0, x))],  # even of NaN
        1.0: [FunctionStep("Mul", (x, 1.0))],
        2.0: [FunctionStep("Mul", (x, x))],
        3.0: [FunctionStep("Mul", (x, x)), FunctionStep("Mul", (first, x))],
        -1.0: [FunctionStep("Div", (1.0, x))],
        # Of negative zero the root is one, too, and of -∞ it is none: powers are positive.
        0.5: [
            FunctionStep("Sqrt", (x,)),
            FunctionStep("Abs", (first,)),
            FunctionStep("Equal", (x, -math.inf)),
            FunctionStep("Where", (first + 2, math.inf, first + 1)),
        ],
    }
    return known.get(exponent, [FunctionStep("Pow", (x, exponent))])


STEPS: dict[str, Steps] = {
    **{op: one(op) for op in (*ARITHMETIC, *FUNCTIONS) if op != "IsNaN"},
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
    "Softsign": _softsign,
    "ThresholdedRelu": _thresholded_relu,
    "Shrink": _shrink,
    "PRelu": _prelu,
    "Pow": _power,
}
