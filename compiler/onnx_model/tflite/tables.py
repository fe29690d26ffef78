"""Functions of one value: of codes a table of 256 entries.

Source: tflite/kernels/{activations,quantize}.cc, internal/reference/hard_swish.h.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.tflite import quantities
from edgekiln.compiler.onnx_model.tflite.fixed_point import (
    Ints,
    divided_by_power,
    quantized_multiplier,
    rounded_twice,
)
from edgekiln.compiler.onnx_model.tflite.model import TfliteOperator, TfliteTensor
from edgekiln.compiler.onnx_model.tflite.onnx_writer import CODES, OnnxWriter

_FLOAT_UNARY = {
    "ABS": "Abs", "CEIL": "Ceil", "COS": "Cos", "ELU": "Elu", "EXP": "Exp", "FLOOR": "Floor",
    "HARD_SWISH": "HardSwish", "LOG": "Log", "LOGISTIC": "Sigmoid", "NEG": "Neg", "RELU": "Relu",
    "ROUND": "Round", "SIN": "Sin", "SQRT": "Sqrt", "TANH": "Tanh",
}  # fmt: skip


def unary(w: OnnxWriter, op: TfliteOperator) -> None:
    """Functions of one value: of codes a table of 256 entries."""
    x, y = one_operand(w, op)
    image = len(y.shape) == 4 and w.is_image(op.inputs[0])
    source, name = w.at(op.inputs[0], image=image), w.result(op.outputs[0], image=image)
    if x.dtype == y.dtype == "float32":
        made = _float_unary(w, op, source, name)
    else:
        made = _table(w, op, x, y, source, name)
    w.made(op.outputs[0], made, image=image)


def one_operand(w: OnnxWriter, op: TfliteOperator) -> tuple[TfliteTensor, TfliteTensor]:
    """The first operand and the result."""
    if not op.inputs or op.inputs[0] < 0:
        raise w.refused(op, "operands are missing")
    return w.tensor(op.inputs[0]), w.tensor(op.outputs[0])


def _float_unary(w: OnnxWriter, op: TfliteOperator, source: str, name: str) -> str:
    if op.name == "SQUARE":
        return w.op("Mul", (source, source), name)
    if op.name == "RSQRT":
        return w.op("Reciprocal", (w.op("Sqrt", (source,), f"{name}.root"),), name)
    if op.name in _FLOAT_UNARY:
        return w.op(_FLOAT_UNARY[op.name], (source,), name)
    if op.name == "LEAKY_RELU":
        return w.op("LeakyRelu", (source,), name, {"alpha": op.options("LeakyRelu").real("alpha")})
    bounds = quantities.real_limits(op.name)
    if bounds is None:
        raise w.refused(op, "of floats")
    ends = [w.weight(np.array(end, np.float32), f"{name}.end") for end in bounds]
    return w.op("Clip", (source, *ends), name)


def _table(
    w: OnnxWriter, op: TfliteOperator, x: TfliteTensor, y: TfliteTensor, source: str, name: str
) -> str:
    make = _TABLES.get(op.name)
    if make is None or x.dtype not in CODES or y.dtype not in CODES:
        raise w.refused(op, f"of {x.dtype} to {y.dtype}")
    if len(x.scales) != 1 or len(y.scales) != 1:
        raise w.refused(op, "its codes have no scales")
    low, high = quantities.all_codes(x)
    # Entry 0 belongs to the lowest code.
    steps = np.arange(low, high + 1, dtype=np.int64) - x.zero
    entries = make(w, op, steps, x, y).clip(*quantities.all_codes(y)).astype(y.dtype)
    operands = (
        source,
        w.weight(entries, f"{name}.table"),
        w.weight(np.array(low, np.int64), f"{name}.lowest"),
    )
    scales = {"x_scale": x.scale, "x_zero": x.zero, "y_scale": y.scale, "y_zero": y.zero}
    return w.function("Lookup", operands, name, scales)


_Table = Callable[[OnnxWriter, TfliteOperator, Ints, TfliteTensor, TfliteTensor], Ints]


def _requantized(
    _w: OnnxWriter, _op: TfliteOperator, steps: Ints, x: TfliteTensor, y: TfliteTensor
) -> Ints:
    return rounded_twice(steps, *quantized_multiplier(x.scale / y.scale)) + y.zero


def _rectified(
    w: OnnxWriter, op: TfliteOperator, steps: Ints, x: TfliteTensor, y: TfliteTensor
) -> Ints:
    limits = quantities.code_limits(op.name, y)
    if limits is None:
        raise w.refused(op, "of codes")
    # Divided in float and widened then, as ReluPrepare has it; QUANTIZE divides in double.
    quotient = float(np.float32(x.scale) / np.float32(y.scale))
    return (rounded_twice(steps, *quantized_multiplier(quotient)) + y.zero).clip(*limits)


def _leaky(
    _w: OnnxWriter, op: TfliteOperator, steps: Ints, x: TfliteTensor, y: TfliteTensor
) -> Ints:
    # In float, too, and in this order: the last bit decides on some codes.
    alpha = np.float32(op.options("LeakyRelu").real("alpha"))
    scale, of_y = np.float32(x.scale), np.float32(y.scale)
    plain, sloped = float(scale / of_y), float(scale * alpha / of_y)
    positive = rounded_twice(steps, *quantized_multiplier(plain))
    negative = rounded_twice(steps, *quantized_multiplier(sloped))
    return np.where(steps >= 0, positive, negative) + y.zero


def _looked_up(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> _Table:
    """The table of a function of floats, as LUTPopulate makes it."""

    def make(
        w: OnnxWriter, op: TfliteOperator, steps: Ints, x: TfliteTensor, y: TfliteTensor
    ) -> Ints:
        del w, op
        values = (steps.astype(np.float32) * np.float32(x.scale)).astype(np.float64)
        # LUTPopulate multiplies by the inverse, which rounds otherwise than a division.
        results = function(values).astype(np.float32) * (np.float32(1) / np.float32(y.scale))
        return quantities.half_away(results) + y.zero

    return make


def _hard_swish(
    w: OnnxWriter, op: TfliteOperator, steps: Ints, x: TfliteTensor, y: TfliteTensor
) -> Ints:
    """The product with ReLU6 in 16 bits."""
    # Codes gain 7 bits, to fill 16; the slope's 16 bits stand for -3 up to 3.
    fine = np.float32(1 / 128) * np.float32(x.scale)
    output, output_shift = _in_16_bits(float(fine / np.float32(y.scale)))
    relu, relu_shift = _in_16_bits(float(fine / np.float32(3 / 32768)))
    if not -15 <= output_shift <= 0 or relu_shift < -15:
        raise w.refused(op, "scales that are too far apart")
    steps = steps << 7
    before = _high(steps, output)
    slope = steps
    if relu_shift > 0:
        slope = _short(slope << (relu_shift - 1))
    slope = _high(slope, relu)
    if relu_shift > 0:
        slope = _short(slope << 1)
    elif relu_shift < 0:
        slope = divided_by_power(slope, -relu_shift)
    product = ((slope + (1 << 15)) >> 1) * before
    # Cut off, not rounded.
    cut = np.sign(product) * (np.abs(product) >> 15)
    return divided_by_power(cut, -output_shift) + y.zero


def _in_16_bits(real: float) -> tuple[int, int]:
    integer, shift = quantized_multiplier(real)
    return min((integer + (1 << 15)) >> 16, (1 << 15) - 1), shift


def _short(x: Ints) -> Ints:
    return x.clip(-(1 << 15), (1 << 15) - 1)


def _high(a: Ints, b: int) -> Ints:
    """The upper 16 bits of 2·a·b, rounded."""
    return _short((a * b + (1 << 14)) >> 15)


_TABLES: Mapping[str, _Table] = {
    "QUANTIZE": _requantized,
    "RELU": _rectified,
    "RELU6": _rectified,
    "RELU_N1_TO_1": _rectified,
    "LEAKY_RELU": _leaky,
    "LOGISTIC": _looked_up(lambda x: 1 / (1 + np.exp(-x))),
    "TANH": _looked_up(np.tanh),
    "HARD_SWISH": _hard_swish,
}
