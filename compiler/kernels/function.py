"""Functions of one float, applied to whole vectors."""

from collections.abc import Callable

from edgekiln.compiler.ir.function import Function
from edgekiln.compiler.kernels import vector_math
from edgekiln.compiler.kernels.tir import let
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    float_const,
    llvm,
    maximum,
    minimum,
    splat,
    vector,
)

# By the names of ONNX's operators.
ARITHMETIC: dict[str, Callable[[Expr, Expr], Expr]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Max": maximum,
    "Min": minimum,
}


def of_two(op: str, a: Expr, b: Expr, lanes: int) -> Expr:
    """`ARITHMETIC` of two values. Where either is NaN, so is the result; the larger and the smaller
    one of `ARITHMETIC` are for less work, and have that of their second operand only.
    """
    if op in ("Max", "Min"):
        return llvm(f"llvm.{op.lower()}imum", vector("float32", lanes), a, b)
    return ARITHMETIC[op](a, b)


def _sqrt(_mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    return llvm("llvm.sqrt", vector("float32", lanes), x)


FUNCTIONS: dict[str, Callable[[MicroKernel, Expr, int], Expr]] = {
    "Exp": vector_math.exp,
    "Sigmoid": vector_math.sigmoid,
    "Tanh": vector_math.tanh,
    "Erf": vector_math.erf,
    "Sqrt": _sqrt,
}


def apply(mk: MicroKernel, function: Function, x: Expr, lanes: int) -> Expr:
    """Return function(x), lane by lane."""
    # Every value has a name, for later steps may use it again.
    values = [let(x)]
    for step in function:
        named = list(step.operands)
        if step.op in ("Max", "Min"):  # of a number and a value the number comes first
            named.sort(key=lambda operand: isinstance(operand, int))
        operands = [
            values[operand] if isinstance(operand, int) else splat(float_const(operand), lanes)
            for operand in named
        ]
        if step.op in ARITHMETIC:
            left, right = operands
            if all(isinstance(operand, int) for operand in named):
                values.append(let(of_two(step.op, left, right, lanes)))
            else:
                values.append(let(ARITHMETIC[step.op](left, right)))
        else:
            (argument,) = operands
            values.append(let(FUNCTIONS[step.op](mk, argument, lanes)))
    return values[-1]
