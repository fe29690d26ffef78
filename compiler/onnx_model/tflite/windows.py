"""Pools, means over images, and changes of their size.

Source: tflite/kernels/{pooling,reduce,resize_bilinear,resize_nearest_neighbor}.cc.
"""

from math import prod

import numpy as np

from edgekiln.compiler.onnx_model.tflite import quantities
from edgekiln.compiler.onnx_model.tflite.fixed_point import quantized_multiplier
from edgekiln.compiler.onnx_model.tflite.layer import activated, activation_of
from edgekiln.compiler.onnx_model.tflite.model import TfliteOperator, TfliteTensor
from edgekiln.compiler.onnx_model.tflite.onnx_writer import IMAGE_AXES, OnnxWriter
from edgekiln.compiler.onnx_model.tflite.products import Pads, padding
from edgekiln.compiler.onnx_model.tflite.tables import one_operand
from edgekiln.compiler.onnx_model.tflite.wire import FileTable

MOST_AVERAGED = 4096  # codes to a mean that is rounded as TFLite does it


def pool(w: OnnxWriter, op: TfliteOperator) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    x, y = one_operand(w, op)
    options = op.options("Pool2D")
    window = options.integer("filter_h"), options.integer("filter_w")
    strides = options.integer("stride_h"), options.integer("stride_w")
    if len(x.shape) != 4 or min(*window, *strides) < 1:
        raise w.refused(op, f"windows {window} on {len(x.shape)} axes")
    _same_codes(w, op, x, y)
    pads = padding(options, x.shape[1:3], window, strides)
    given: dict[str, object] = {
        "kernel_shape": list(window), "strides": list(strides), "pads": list(pads)
    }  # fmt: skip
    source, name = w.in_image(op.inputs[0]), w.result(op.outputs[0], image=True)
    average = op.name == "AVERAGE_POOL_2D"
    if x.dtype == "float32":
        kind = "AveragePool" if average else "MaxPool"
        made = activated(w, op, options, lambda n: w.op(kind, (source,), n, given), name)
    elif average:
        made = _average(w, op, options, source, pads, given)
    else:
        made = _maximum(w, op, options, source, given)
    w.made(op.outputs[0], made, image=True)


def _same_codes(w: OnnxWriter, op: TfliteOperator, x: TfliteTensor, y: TfliteTensor) -> None:
    if x.dtype != y.dtype or x.dtype not in ("float32", "int8"):
        raise w.refused(op, f"of {x.dtype} to {y.dtype}")
    if (x.scales, x.zeros) != (y.scales, y.zeros) or (x.dtype == "int8" and len(x.scales) != 1):
        raise w.refused(op, "scales that differ between its operand and its result")


def _average(
    w: OnnxWriter, op: TfliteOperator, options: FileTable, source: str, pads: Pads,
    given: dict[str, object],
) -> str:  # fmt: skip
    x, y = one_operand(w, op)
    limits = quantities.code_limits(activation_of(options), y)
    if limits is None:
        raise w.refused(op, "the activation in it")
    window = options.integer("filter_h"), options.integer("filter_w")
    strides = options.integer("stride_h"), options.integer("stride_w")
    if prod(window) > MOST_AVERAGED:
        raise w.refused(op, f"a mean of {prod(window)} codes")
    inside = [
        np.minimum(first + taps, extent) - np.maximum(first, 0)
        for axis, (taps, extent) in enumerate(zip(window, x.shape[1:3], strict=True))
        for first in [np.arange(y.shape[1 + axis]) * strides[axis] - pads[axis]]
    ]
    # (OH, OW): how many taps of each window lie inside the image, and are divided by.
    counts = np.outer(*inside).astype(np.int64)
    if counts.min(initial=1) < 1:
        raise w.refused(op, "windows outside of the image")
    stem, channels = y.name, x.shape[3]
    numbers = {"low": limits[0], "high": limits[1]}
    operands = (
        source,
        w.weight(np.ones((channels, 1, *window), np.int8), f"{stem}.ones"),
        # With a zero point of 0, codes are added as they are, and padding adds nothing.
        w.weight(np.array(0, np.int8), f"{stem}.none"),
        w.weight(counts, f"{stem}.counts"),
        *(w.weight(np.array(v, np.int64), f"{stem}.{k}") for k, v in numbers.items()),
    )
    name = w.result(op.outputs[0], image=True)
    scales = {"x_scale": x.scale, "x_zero": x.zero}
    # Codes of uint8 have no sign, so that their means are rounded up where those of int8 go away
    # from 0.
    kind = "AveragePoolUp" if x.unsigned else "AveragePool"
    return w.function(kind, operands, name, {"group": channels, **given, **scales})


def _maximum(
    w: OnnxWriter, op: TfliteOperator, options: FileTable, source: str, given: dict[str, object]
) -> str:
    x, y = one_operand(w, op)
    limits = quantities.code_limits(activation_of(options), y)
    if limits is None:
        raise w.refused(op, "the activation in it")
    name = w.result(op.outputs[0], image=True)
    # ONNX's MaxPool has no limits of its own: those of an activation are a table behind it.
    if limits == quantities.all_codes(y):
        return w.moved("MaxPool", (source,), x, name, given=given)
    made = w.moved("MaxPool", (source,), x, f"{name}.largest", given=given)
    low, high = quantities.all_codes(x)
    table = np.arange(low, high + 1).clip(*limits).astype(y.dtype)
    operands = (
        made, w.weight(table, f"{name}.table"), w.weight(np.array(low, np.int64), f"{name}.lowest")
    )  # fmt: skip
    scales = {"x_scale": x.scale, "x_zero": x.zero, "y_scale": y.scale, "y_zero": y.zero}
    return w.function("Lookup", operands, name, scales)


def mean(w: OnnxWriter, op: TfliteOperator) -> None:
    """MEAN, of codes over the pixels of images or over tokens; SUM and others of floats."""
    x, y = one_operand(w, op)
    axes = w.constants(op, 1)
    if axes is None:
        raise w.refused(op, "axes that are computed")
    rank = len(x.shape)
    axes = tuple(sorted({axis % rank for axis in axes})) if rank else ()
    keep = bool(op.options("Reducer").integer("keep_dims"))
    # An axis of one place is as well summed up as not.
    if rank == 4 and {*axes} in ({1}, {2}) and keep and 1 in x.shape[1:3]:
        other = 2 if axes == (1,) else 1
        axes = (1, 2) if x.shape[other] == 1 else axes
    image = rank == 4 and axes == (1, 2)
    source = w.at(op.inputs[0], image=image)
    places = tuple(IMAGE_AXES[axis] for axis in axes) if image else axes
    kept_image = image and keep
    name = w.result(op.outputs[0], image=kept_image)
    along = w.weight(np.array(places, np.int64), f"{name}.axes")
    if x.dtype == y.dtype == "float32":
        kind = {"MEAN": "ReduceMean", "SUM": "ReduceSum", "REDUCE_MAX": "ReduceMax",
                "REDUCE_MIN": "ReduceMin", "REDUCE_PROD": "ReduceProd"}[op.name]  # fmt: skip
        made = w.op(kind, (source, along), name, {"keepdims": int(keep)})
        w.made(op.outputs[0], made, image=kept_image)
        return
    if op.name != "MEAN" or x.dtype != "int8" or y.dtype != "int8":
        raise w.refused(op, f"of {x.dtype} to {y.dtype}")
    if not (image or (rank == 3 and axes == (1,))):
        raise w.refused(op, f"codes along the axes {axes} of {rank}")
    if len(x.scales) != 1 or len(y.scales) != 1:
        raise w.refused(op, "its codes have no scales")
    integer, shift = _mean_factor(x, y, prod(x.shape[axis] for axis in axes))
    low, high = quantities.all_codes(y)
    numbers = {
        "x_zero": x.zero, "integer": integer, "shift": shift, "zero": y.zero, "low": low,
        "high": high,
    }  # fmt: skip
    operands = [w.weight(np.array(v, np.int64), f"{name}.{k}") for k, v in numbers.items()]
    scales = {"x_scale": x.scale, "y_scale": y.scale}
    made = w.function("Mean", (source, along, *operands), name, {"keepdims": int(keep), **scales})
    w.made(op.outputs[0], made, image=kept_image)


def _mean_factor(x: TfliteTensor, y: TfliteTensor, count: int) -> tuple[int, int]:
    """The factor of a sum, which is divided by the count: see QuantizedMeanOrSum."""
    integer, shift = quantized_multiplier(x.scale / y.scale)
    bits = min(count.bit_length() - 1, 32, 31 + shift)
    return (integer << bits) // count, shift - bits


def resize(w: OnnxWriter, op: TfliteOperator) -> None:
    """RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR."""
    x, y = one_operand(w, op)
    linear = op.name == "RESIZE_BILINEAR"
    options = op.options("ResizeBilinear" if linear else "ResizeNearestNeighbor")
    size = w.constants(op, 1)
    if size is None or len(size) != 2 or len(x.shape) != 4 or min(size) < 1:
        raise w.refused(op, "the size of its result is not known")
    _same_codes(w, op, x, y)
    aligned, half = options.integer("align_corners"), options.integer("half_pixel_centers")
    mode = "align_corners" if aligned else "half_pixel" if half else "asymmetric"
    given: dict[str, object] = {
        "mode": "linear" if linear else "nearest", "coordinate_transformation_mode": mode
    }  # fmt: skip
    # Half pixels: floor((i + ½) · scale), which is round(((i + ½) · scale) - ½) with ½ going up; of
    # aligned corners TFLite rounds as C does, and places are not negative.
    if not linear:
        given["nearest_mode"] = "floor" if mode == "asymmetric" else "round_prefer_ceil"
    name = w.result(op.outputs[0], image=True)
    if linear and x.dtype == "int8":
        w.notes.append(
            f"RESIZE_BILINEAR {y.name!r} is computed in floats: a code may differ by one from "
            "TFLite's, which rounds between pixels"
        )
    sizes = w.weight(np.array([x.shape[0], x.shape[3], *size], np.int64), f"{name}.sizes")
    made = w.moved("Resize", (w.in_image(op.inputs[0]),), x, name, ("", "", sizes), given)
    w.made(op.outputs[0], made, image=True)
