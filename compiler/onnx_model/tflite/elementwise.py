"""Sums, products, PReLU; of floats whatever ONNX has of two tensors.

Source: tflite/kernels/{add,sub,mul,activations}.cc.
"""

import math
from collections.abc import Sequence

import numpy as np

from edgekiln.compiler.onnx_model.tflite import quantities
from edgekiln.compiler.onnx_model.tflite.layer import activated, activation_of
from edgekiln.compiler.onnx_model.tflite.model import TfliteOperator, TfliteTensor
from edgekiln.compiler.onnx_model.tflite.onnx_writer import OnnxWriter

_SUM_BITS = 20  # by which the operands of a sum are shifted left
_OPTIONS = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul"}
_FLOAT_BINARY = {
    "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "MAXIMUM": "Max", "MINIMUM": "Min",
    "POW": "Pow", "PRELU": "PRelu", "SQUARED_DIFFERENCE": "Sub",
}  # fmt: skip


def binary(w: OnnxWriter, op: TfliteOperator) -> None:
    """ADD, SUB, MUL, PRELU; of floats others, too."""
    numbers = op.inputs[:2]
    if len(numbers) < 2 or min(numbers) < 0:
        raise w.refused(op, "operands are missing")
    tensors = [w.tensor(each) for each in numbers]
    y = w.tensor(op.outputs[0])
    types = {each.dtype for each in (*tensors, y)}
    if len(types) > 1 or y.dtype not in ("float32", "int8"):
        raise w.refused(op, f"of {', '.join(sorted(types))}")
    image = _lies_as_image(w, numbers, tensors, y)
    operands = [_operand(w, op, each, y, image=image) for each in numbers]
    name = w.result(op.outputs[0], image=image)
    kind = _OPTIONS.get(op.name)
    if y.dtype == "float32":
        made = _of_floats(w, op, kind, operands, name)
    else:
        made = _of_codes(w, op, kind, (*tensors, y), operands, name)
    w.made(op.outputs[0], made, image=image)


def _of_floats(
    w: OnnxWriter, op: TfliteOperator, kind: str | None, operands: Sequence[str], name: str
) -> str:
    def make(result: str) -> str:
        return w.op(_FLOAT_BINARY[op.name], operands, result)

    if op.name == "SQUARED_DIFFERENCE":
        difference = make(f"{name}.difference")
        return w.op("Mul", (difference, difference), name)
    return activated(w, op, op.options(kind), make, name) if kind else make(name)


def _of_codes(
    w: OnnxWriter, op: TfliteOperator, kind: str | None,
    tensors: tuple[TfliteTensor, ...], operands: Sequence[str], name: str,
) -> str:  # fmt: skip
    a, b, y = tensors
    if op.name not in ("ADD", "SUB", "MUL", "PRELU"):
        raise w.refused(op, "of codes")
    if not all(each.quantized and len(each.scales) == 1 for each in tensors):
        raise w.refused(op, "its codes have no scales")
    if math.prod(a.shape) < math.prod(b.shape) and op.name == "PRELU":
        raise w.refused(op, "slopes for more values than there are")
    limits = quantities.code_limits(activation_of(op.options(kind)) if kind else "NONE", y)
    if limits is None:
        raise w.refused(op, "the activation in it")
    integers, shifts = quantities.factors(*_reals(op.name, a.scale, b.scale, y.scale))
    numbers = {"zero": y.zero, "low": limits[0], "high": limits[1]}
    zeros = [w.weight(np.array(t.zero, np.int64), f"{y.name}.zero") for t in (a, b)]
    further = [
        *zeros, w.weight(integers, f"{y.name}.integer"), w.weight(shifts, f"{y.name}.shift"),
        *(w.weight(np.array(v, np.int64), f"{y.name}.{k}") for k, v in numbers.items()),
    ]  # fmt: skip
    scales = {"a_scale": a.scale, "b_scale": b.scale, "y_scale": y.scale}
    return w.function(kind or "PRelu", (*operands, *further), name, scales)


def _reals(name: str, a: float, b: float, y: float) -> tuple[float, ...]:
    """The factors of a kernel, as its preparation computes them."""
    if name in ("MUL", "PRELU"):  # in float32
        of_a, of_b, of_y = (np.float32(each) for each in (a, b, y))
        product = float(of_a * of_b / of_y)
        return (product,) if name == "MUL" else (float(of_a / of_y), product)
    # twice_max_input_scale: factors of at most ½ leave the sum of two lifted codes its bits.
    twice = 2 * max(a, b)
    return a / twice, b / twice, twice / ((1 << _SUM_BITS) * y)


def _lies_as_image(
    w: OnnxWriter, numbers: Sequence[int], tensors: Sequence[TfliteTensor], y: TfliteTensor
) -> bool:
    """Whether to compute in ONNX's layout: channels are broadcast, or an operand lies so."""
    if len(y.shape) != 4:
        return False
    broadcast = any(t.shape != y.shape and math.prod(t.shape) > 1 for t in tensors)
    return broadcast or any(w.is_image(each) for each in numbers)


def _operand(
    w: OnnxWriter, op: TfliteOperator, number: int, y: TfliteTensor, *, image: bool
) -> str:
    """An operand with as many axes as the result."""
    tensor, rank = w.tensor(number), len(y.shape)
    if len(tensor.shape) == rank:
        return w.at(number, image=image)
    shape = (*[1] * (rank - len(tensor.shape)), *tensor.shape)
    if image:
        n, h, columns, c = shape
        if (h, columns) != (1, 1):
            raise w.refused(op, f"{tensor.shape} beside {y.shape}")
        # NHWC to NCHW, of channels alone no more than another shape.
        shape = (n, c, 1, 1)
    known = w.constant(number)
    if known is not None:
        return w.weight(known.reshape(shape), f"{tensor.name}.broadcast")
    sizes = w.weight(np.array(shape), f"{tensor.name}.shape")
    return w.moved("Reshape", (w.in_rows(number),), tensor, f"{tensor.name}.broadcast", (sizes,))
