"""Convolutions and fully connected layers.

Source: tflite/kernels/{conv,depthwise_conv,fully_connected,transpose_conv}.cc.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, prod

import numpy as np

from edgekiln.compiler.onnx_model import conv_transpose
from edgekiln.compiler.onnx_model.tflite import schema, wide_weights
from edgekiln.compiler.onnx_model.tflite.layer import ConstantLayer, activated, layer_of
from edgekiln.compiler.onnx_model.tflite.model import TfliteOperator
from edgekiln.compiler.onnx_model.tflite.onnx_writer import OnnxWriter
from edgekiln.compiler.onnx_model.tflite.wire import FileTable

Pads = tuple[int, int, int, int]  # top, left, bottom, right


def padding(
    options: FileTable, size: Sequence[int], window: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> Pads:  # fmt: skip
    """What TFLite puts around an image of (rows, columns)."""
    if schema.PADDINGS[options.integer("padding") & 1] == "VALID":
        return 0, 0, 0, 0
    before, after = [], []
    for extent, taps, stride, dilation in zip(size, window, strides, dilations, strict=True):
        reach = (taps - 1) * dilation + 1
        total = max(0, (ceil(extent / stride) - 1) * stride + reach - extent)
        # An odd one goes behind the image, as in ONNX's SAME_UPPER.
        before.append(total // 2)
        after.append(total - total // 2)
    return before[0], before[1], after[0], after[1]


def conv(w: OnnxWriter, op: TfliteOperator) -> None:
    """CONV_2D: weights (O, KH, KW, I / groups)."""
    layer, options = layer_of(w, op), op.options("Conv2D")
    if layer.values.ndim != 4 or len(layer.x.shape) != 4:
        raise w.refused(op, f"of {len(layer.x.shape)} axes")
    # No option says it: weights that read a part of the channels are grouped.
    groups = max(layer.x.shape[3] // max(layer.values.shape[3], 1), 1)
    _convolve(layer, options, (0, 3, 1, 2), groups)


def depthwise(w: OnnxWriter, op: TfliteOperator) -> None:
    """DEPTHWISE_CONV_2D: weights (1, KH, KW, channels · multiplier)."""
    layer, options = layer_of(w, op), op.options("DepthwiseConv2D")
    if layer.values.ndim != 4 or len(layer.x.shape) != 4:
        raise w.refused(op, f"of {len(layer.x.shape)} axes")
    _convolve(layer, options, (3, 0, 1, 2), layer.x.shape[3])


def _convolve(layer: ConstantLayer, options: FileTable, perm: Sequence[int], groups: int) -> None:
    w, op = layer.w, layer.op
    strides = options.integer("stride_h"), options.integer("stride_w")
    dilations = options.integer("dilation_h"), options.integer("dilation_w")
    if min(*strides, *dilations) < 1:
        raise w.refused(op, f"strides {strides}, dilations {dilations}")
    window = [layer.values.shape[axis] for axis in perm[2:]]
    pads = padding(options, layer.x.shape[1:3], window, strides, dilations)
    given = {
        "kernel_shape": window, "strides": list(strides), "pads": list(pads),
        "dilations": list(dilations), "group": groups,
    }  # fmt: skip
    made = _product(layer, options, w.in_image(op.inputs[0]), perm, given)
    w.made(op.outputs[0], made, image=True)


def _product(
    layer: ConstantLayer, options: FileTable, x: str, perm: Sequence[int], given: dict[str, object]
) -> str:
    """The convolution itself; `perm` brings the weights into ONNX's order."""
    w, y = layer.w, layer.y
    name = layer.result or w.result(layer.op.outputs[0], image=True)
    weights = layer.values.transpose(perm)
    if not layer.of_codes:
        operands = layer.float_operands(weights)
        return activated(
            w, layer.op, options, lambda n: w.op("Conv", (x, *operands), n, given), name
        )
    groups = int(str(given["group"]))
    if groups == 1:
        x, weights = wide_weights.channels_again(w, x, layer.x, weights)
    elif weights.shape[1] == 1:
        x, weights = wide_weights.each_channel_again(w, x, layer.x, weights, groups)
    elif not wide_weights.fit(weights):
        raise w.refused(layer.op, "its asymmetric weights do not fit int8")
    operands = layer.code_operands(weights, (len(weights), 1, 1), options)
    return w.function(
        "Conv", (x, *operands), name, {**given, "x_scale": layer.x.scale, "y_scale": y.scale}
    )


def dense(w: OnnxWriter, op: TfliteOperator) -> None:
    """FULLY_CONNECTED: weights (O, I); what lies before the last axis is rows."""
    layer, options = layer_of(w, op), op.options("FullyConnected")
    if layer.values.ndim != 2 or options.integer("weights_format"):
        raise w.refused(op, "weights in an order of their own")
    channels, features = layer.values.shape
    if not features or prod(layer.x.shape) % features:
        raise w.refused(op, f"{layer.x.shape} has no rows of {features}")
    x = w.in_rows(op.inputs[0])
    rows = prod(layer.x.shape) // features
    if layer.x.shape != (rows, features):
        shape = w.weight(np.array([rows, features]), f"{layer.y.name}.rows")
        x = w.moved("Reshape", (x,), layer.x, f"{layer.y.name}.flat", (shape,))
    name = w.result(op.outputs[0], image=False)
    flat = layer.y.shape == (rows, channels)
    target = name if flat else f"{name}.flat"
    if layer.of_codes:
        x, weights = wide_weights.channels_again(w, x, layer.x, layer.values)
        operands = layer.code_operands(weights.T, (channels,), options)
        scales = {"x_scale": layer.x.scale, "y_scale": layer.y.scale}
        made = w.function("Dense", (x, *operands), target, scales)
    else:
        operands = layer.float_operands(layer.values)
        made = activated(
            w, op, options, lambda n: w.op("Gemm", (x, *operands), n, {"transB": 1}), target
        )
    if not flat:
        shape = w.weight(np.array(layer.y.shape), f"{name}.shape")
        made = w.moved("Reshape", (made,), layer.y, name, (shape,))
    w.made(op.outputs[0], made)


def transpose_conv(w: OnnxWriter, op: TfliteOperator) -> None:
    """TRANSPOSE_CONV: weights (O, KH, KW, I), the shape of the result first.

    One convolution makes the pixels of a block as channels, see `conv_transpose`.
    """
    layer, options = layer_of(w, op, data=2, bias=3), op.options("TransposeConv")
    if layer.values.ndim != 4 or len(layer.x.shape) != 4:
        raise w.refused(op, f"of {len(layer.x.shape)} axes")
    strides = options.integer("stride_h"), options.integer("stride_w")
    if strides[0] != strides[1] or strides[0] < 1:
        raise w.refused(op, f"strides {strides}")
    given = {"auto_pad": _AUTO_PADS[schema.PADDINGS[options.integer("padding") & 1]]}
    kernel, into, out = layer.values.shape[1:3], layer.x.shape[1:3], layer.y.shape[1:3]
    if len(layer.y.shape) != 4 or min(out) < 1:
        raise w.refused(op, "the size of its result is not known")
    axes = [
        conv_transpose.axis_of(i, {**given, "strides": list(strides)}, kernel, into, out)
        for i in (0, 1)
    ]
    if any(axis.before >= axis.taps + into[i] for i, axis in enumerate(axes)):
        raise w.refused(op, "padding that is wider than its image")
    _blocks(layer, options, axes)


def batch_matmul(w: OnnxWriter, op: TfliteOperator) -> None:
    """BATCH_MATMUL of floats: matrices on the last two axes, each of which may lie on its side."""
    options, numbers = op.options("BatchMatMul"), op.inputs[:2]
    if len(numbers) < 2 or min(numbers) < 0:
        raise w.refused(op, "operands are missing")
    y = w.tensor(op.outputs[0])
    types = {y.dtype, *(w.tensor(number).dtype for number in numbers)}
    if types != {"float32"}:
        raise w.refused(op, f"of {', '.join(sorted(types))}")
    operands = []
    for number, turned in zip(numbers, ("adj_x", "adj_y"), strict=True):
        name, tensor = w.in_rows(number), w.tensor(number)
        if options.integer(turned):
            order = list(range(len(tensor.shape)))
            order[-2:] = order[:-3:-1]
            name = w.moved(
                "Transpose", (name,), tensor, f"{tensor.name}.{turned}", given={"perm": order}
            )
        operands.append(name)
    w.made(op.outputs[0], w.op("MatMul", operands, w.result(op.outputs[0], image=False)))


_AUTO_PADS = {"SAME": "SAME_UPPER", "VALID": "VALID"}


def _blocks(layer: ConstantLayer, options: FileTable, axes: list[conv_transpose.Axis]) -> None:
    """The convolution, its channels laid side by side as pixels, and what lies outside cut off."""
    w, number, name = layer.w, layer.op.outputs[0], layer.y.name
    phases, stride = axes[0].stride ** 2, axes[0].stride
    window = {
        "kernel_shape": [axis.taps for axis in axes], "strides": [1, 1], "dilations": [1, 1],
        "pads": [*(axis.before for axis in axes), *(axis.after for axis in axes)], "group": 1,
    }  # fmt: skip
    cut = any((axis.start, axis.extent) != (0, axis.blocks * stride) for axis in axes)
    steps = ["blocks", *(["pixels"] if phases > 1 else []), *(["inside"] if cut else [])]
    names = [f"{name}.{step}" for step in steps[:-1]] + [w.result(number, image=True)]
    # (O, KH, KW, I) → (O · phases, I, taps, taps)
    values = conv_transpose.phase_weights(layer.values.transpose(3, 0, 1, 2), axes, 1)
    apart = replace(layer, values=values, phases=phases, result=names[0])
    made = _product(apart, options, w.in_image(layer.op.inputs[2]), (0, 1, 2, 3), window)
    if phases > 1:
        # The phases of a channel lie beside each other, channel by channel.
        further = {"blocksize": stride, "mode": "CRD"}
        made = w.moved("DepthToSpace", (made,), layer.y, names[1], given=further)
    if cut:
        bounds = [
            w.weight(np.array(values), f"{name}.{what}")
            for what, values in (
                ("starts", [axis.start for axis in axes]),
                ("ends", [axis.start + axis.extent for axis in axes]),
                ("axes", [2, 3]),
            )
        ]
        made = w.moved("Slice", (made,), layer.y, names[-1], bounds)
    w.made(number, made, image=True)
