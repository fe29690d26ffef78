"""Functions of one float, applied to whole vectors."""

from collections.abc import Callable, Sequence

from edgekiln.compiler.ir.function import Function, FunctionStep
from edgekiln.compiler.kernels import (
    float_bits,
    vector_angles,
    vector_math,
    vector_pow,
    vector_powers,
)
from edgekiln.compiler.kernels.tir import let
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    llvm,
    maximum,
    minimum,
    select,
    vector,
)

# By the names of ONNX's operators.
ARITHMETIC: dict[str, Callable[[Expr, Expr, int], Expr]] = {
    "Add": lambda a, b, _lanes: a + b,
    "Sub": float_bits.difference,
    "Mul": lambda a, b, _lanes: a * b,
    "Div": lambda a, b, _lanes: a / b,
    "Max": lambda a, b, _lanes: maximum(a, b),
    "Min": lambda a, b, _lanes: minimum(a, b),
}


def of_two(op: str, a: Expr, b: Expr, lanes: int) -> Expr:
    """`ARITHMETIC` of two values, or a times the slope b where it is negative. Where either is NaN,
    so is the larger and the smaller one; those of `ARITHMETIC` are for less work, and have that of
    their second operand only.
    """
    if op in ("Max", "Min"):
        return llvm(f"llvm.{op.lower()}imum", vector("float32", lanes), a, b)
    if op == "PRelu":
        return select(a < float_bits.constant(0.0, lanes), a * b, a)
    return ARITHMETIC[op](a, b, lanes)


def _sqrt(_mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    return llvm("llvm.sqrt", vector("float32", lanes), x)


def _of_bits(value: Callable[[Expr, int], Expr]) -> Callable[[MicroKernel, Expr, int], Expr]:
    return lambda _mk, x, lanes: value(x, lanes)


def _of_numbers(
    value: Callable[[MicroKernel, Expr, int], Expr],
) -> Callable[[MicroKernel, Expr, int], Expr]:
    """NaN of NaN, whichever one of two a chip takes for the smaller one."""
    return lambda mk, x, lanes: select(float_bits.is_nan(x, lanes), x, value(mk, x, lanes))


def _is_nan(_mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    one, zero = (float_bits.constant(number, lanes) for number in (1.0, 0.0))
    return select(float_bits.is_nan(x, lanes), one, zero)


FUNCTIONS: dict[str, Callable[[MicroKernel, Expr, int], Expr]] = {
    "Exp": vector_math.exp,
    "Sigmoid": vector_math.sigmoid,
    "Tanh": vector_math.tanh,
    "Erf": vector_math.erf,
    "Sqrt": _sqrt,
    "IsNaN": _is_nan,
    "Abs": _of_bits(float_bits.absolute),
    "Floor": _of_bits(float_bits.floor),
    "Ceil": _of_bits(float_bits.ceil),
    "Round": _of_bits(float_bits.round_half_even),
    "Log": vector_powers.log,
    "Softplus": _of_numbers(vector_powers.softplus),
    "Sinh": _of_numbers(vector_powers.sinh),
    "Cosh": _of_numbers(vector_powers.cosh),
    "Asinh": _of_numbers(vector_powers.asinh),
    "Acosh": _of_numbers(vector_powers.acosh),
    "Atanh": _of_numbers(vector_powers.atanh),
    "Sin": vector_angles.sin,
    "Cos": vector_angles.cos,
    "Tan": vector_angles.tan,
    "Asin": vector_angles.asin,
    "Acos": vector_angles.acos,
    "Atan": vector_angles.atan,
}


# Comparisons give 1 and 0, which stand for truth values; NaN is not equal to anything.
COMPARISONS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "Equal": lambda a, b: (a >= b) & (b >= a),
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Less": lambda a, b: b > a,
    "LessOrEqual": lambda a, b: b >= a,
}


def apply(mk: MicroKernel, function: Function, x: Expr, lanes: int) -> Expr:
    """Return function(x), lane by lane."""
    # Every value has a name, for later steps may use it again.
    values = [let(x)]
    for step in function:
        values.append(let(_result(mk, step, values, lanes)))
    return values[-1]


def _result(mk: MicroKernel, step: FunctionStep, values: Sequence[Expr], lanes: int) -> Expr:
    named = list(step.operands)
    if step.op == "Pow":
        return _power(mk, named, values, lanes)
    if step.op in ("Max", "Min"):  # of a number and a value the number comes first
        named.sort(key=lambda operand: isinstance(operand, int))
    number = float_bits.opaque if step.op in ("Add", "Mul", "Div") else float_bits.constant
    operands = [values[each] if isinstance(each, int) else number(each, lanes) for each in named]
    if step.op in ARITHMETIC:
        if all(isinstance(operand, int) for operand in named):
            return of_two(step.op, operands[0], operands[1], lanes)
        return ARITHMETIC[step.op](operands[0], operands[1], lanes)
    one, zero = (float_bits.constant(number, lanes) for number in (1.0, 0.0))
    if step.op in COMPARISONS:
        return select(COMPARISONS[step.op](operands[0], operands[1]), one, zero)
    if step.op == "Where":
        condition, yes, no = operands
        return select(condition > zero, yes, no)
    (argument,) = operands
    return FUNCTIONS[step.op](mk, argument, lanes)


def _power(
    mk: MicroKernel, operands: Sequence[int | float], values: Sequence[Expr], lanes: int
) -> Expr:
    match operands:
        case int(base), float(exponent):
            return vector_pow.to_constant(mk, values[base], exponent, lanes)
        case float(base), int(exponent):
            return vector_pow.of_constant(mk, base, values[exponent], lanes)
    raise AssertionError(operands)
