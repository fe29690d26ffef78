"""Between floats and codes, and softmax, whose result has a scale of its own.

Source: tflite/kernels/{quantize,dequantize,activations}.cc.
"""

import numpy as np

from edgekiln.compiler.onnx_model.tflite import exponentials, quantities
from edgekiln.compiler.onnx_model.tflite.model import TfliteOperator
from edgekiln.compiler.onnx_model.tflite.onnx_writer import CODES, OnnxWriter
from edgekiln.compiler.onnx_model.tflite.tables import one_operand, unary


def quantize(w: OnnxWriter, op: TfliteOperator) -> None:
    """QUANTIZE: of floats half away from zero, of codes a table."""
    x, y = one_operand(w, op)
    # Of codes it requantizes.
    if x.dtype != "float32":
        unary(w, op)
        return
    if y.dtype not in CODES or len(y.scales) != 1:
        raise w.refused(op, f"to {y.dtype}")
    image = len(y.shape) == 4 and w.is_image(op.inputs[0])
    low, high = quantities.all_codes(y)
    source, name = w.at(op.inputs[0], image=image), w.result(op.outputs[0], image=image)
    numbers = {"zero": y.zero, "low": low, "high": high}
    operands = (
        source,
        w.weight(np.array(y.scale, np.float32), f"{name}.scale"),
        *(w.weight(np.array(v, np.int64), f"{name}.{k}") for k, v in numbers.items()),
        w.weight(np.array(0, y.dtype), f"{name}.like"),
    )
    w.made(op.outputs[0], w.function("Quantize", operands, name), image=image)


def dequantize(w: OnnxWriter, op: TfliteOperator) -> None:
    """DEQUANTIZE: of constants, too, such as weights in float16."""
    x, y = one_operand(w, op)
    known = w.constant(op.inputs[0])
    # Converters store weights in 16 bits with a DEQUANTIZE before the layer that reads them.
    if known is not None and x.dtype == "float16":
        w.known[op.outputs[0]] = known.astype(np.float32)
        return
    if x.dtype not in CODES or len(x.scales) != 1 or y.dtype != "float32":
        raise w.refused(op, f"of {x.dtype}")
    image = len(y.shape) == 4 and w.is_image(op.inputs[0])
    source, name = w.at(op.inputs[0], image=image), w.result(op.outputs[0], image=image)
    parameters = (
        w.weight(np.array(x.scale, np.float32), f"{name}.scale"),
        w.weight(np.array(x.zero, x.dtype), f"{name}.zero"),
    )
    made = w.op("DequantizeLinear", (source, *parameters), name)
    w.made(op.outputs[0], made, image=image)


def softmax(w: OnnxWriter, op: TfliteOperator) -> None:
    """SOFTMAX along the last axis."""
    x, y = one_operand(w, op)
    beta = op.options("Softmax").real("beta")
    source, name = w.in_rows(op.inputs[0]), w.result(op.outputs[0], image=False)
    if x.dtype == y.dtype == "float32":
        if beta != 1.0:
            factor = w.weight(np.array(beta, np.float32), f"{name}.beta")
            source = w.op("Mul", (source, factor), f"{name}.scaled")
        w.made(op.outputs[0], w.op("Softmax", (source,), name, {"axis": -1}))
        return
    if x.dtype != "int8" or y.dtype != "int8" or not x.quantized or not y.quantized:
        raise w.refused(op, f"of {x.dtype} to {y.dtype}")
    # SoftmaxPrepare demands it of int8, and the kernel does not read the result's scale.
    if (y.scale, y.zero) != (1 / 256, -128):
        raise w.refused(op, "a result that is not in 256ths from -128 on")
    # Each power is at most 1, so these are the integer bits that a row's sum has.
    if not 0 < x.shape[-1] < 1 << exponentials.SUM_BITS:
        raise w.refused(op, f"rows of {x.shape[-1]}")
    powers = exponentials.powers(beta * x.scale).astype(np.int64)
    operands = (
        source, w.weight(powers, f"{name}.powers"),
        w.weight(np.array(y.zero, np.int64), f"{name}.lowest"),
    )  # fmt: skip
    made = w.function("Softmax", operands, name, {"x_scale": x.scale, "x_zero": x.zero})
    w.made(op.outputs[0], made)
