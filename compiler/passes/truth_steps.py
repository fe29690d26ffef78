"""What gives truth values of one float, or reads such, as steps of a function."""

import onnx

from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.onnx_op import Onnx
from edgekiln.compiler.kernels.function import COMPARISONS
from edgekiln.compiler.passes.function_steps import Operand, Steps, one


def _compared(op_type: str) -> Steps:
    def steps(operands: tuple[Operand, ...], _op: Onnx, first: int) -> list[FunctionStep]:
        left, right = operands
        # A value is known by a whole number: 0 is the first, and 0.0 a number.
        if (type(left), left) != (type(right), right):
            return [FunctionStep(op_type, operands)]
        # Whether a value is itself is a question of NaN, which TVM's rules for numbers answer.
        if op_type in ("Greater", "Less"):
            return [FunctionStep("Where", (0.0, left, 0.0))]
        return [FunctionStep("IsNaN", (left,)), FunctionStep("Sub", (1.0, first))]

    return steps


def _either(operands: tuple[Operand, ...], _op: Onnx, first: int) -> list[FunctionStep]:
    """Either, not both: the other one where the first holds is its opposite."""
    left, right = operands
    return [
        FunctionStep("Sub", (1.0, right)),
        FunctionStep("Where", (left, first, right)),
    ]


def _cast(operands: tuple[Operand, ...], op: Onnx, first: int) -> list[FunctionStep] | None:
    """A truth value is its number already; a number is true unless it is 0."""
    match op.integer("to", 0):
        case onnx.TensorProto.FLOAT:
            return []
        case onnx.TensorProto.BOOL:
            return [
                FunctionStep("Equal", (*operands, 0.0)),
                FunctionStep("Sub", (1.0, first)),
            ]
    return None


# What gives truth values, 1 and 0, or reads such: steps inside functions, which give floats.
TRUTHS: dict[str, Steps] = {
    **{op: _compared(op) for op in COMPARISONS},
    "And": lambda operands, _op, _first: [FunctionStep("Mul", operands)],
    "Or": lambda operands, _op, _first: [FunctionStep("Max", operands)],
    "Not": lambda operands, _op, _first: [FunctionStep("Sub", (1.0, *operands))],
    "Xor": _either,
    "IsNaN": one("IsNaN"),
    "Cast": _cast,
    "Where": one("Where"),
}
