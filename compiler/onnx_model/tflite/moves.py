"""Operators that move values and keep their quantization.

Source: tflite/kernels/{reshape,pad,concatenation,strided_slice,split,transpose}.cc.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from edgekiln.compiler.onnx_model.tflite.layer import activation_of
from edgekiln.compiler.onnx_model.tflite.model import TfliteOperator, TfliteTensor
from edgekiln.compiler.onnx_model.tflite.onnx_writer import CODES, IMAGE_AXES, OnnxWriter
from edgekiln.compiler.onnx_model.tflite.tables import one_operand


def _checked(
    w: OnnxWriter, op: TfliteOperator, operands: Sequence[TfliteTensor], y: TfliteTensor
) -> None:
    """Codes must mean the same on both sides."""
    for x in operands:
        if x.dtype != y.dtype:
            raise w.refused(op, f"of {x.dtype} to {y.dtype}")
        if x.dtype in CODES and (x.scales, x.zeros) != (y.scales, y.zeros):
            raise w.refused(op, "scales that differ between its operands and its result")


def reshape(w: OnnxWriter, op: TfliteOperator) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the file says what shape comes out."""
    x, y = one_operand(w, op)
    told = w.constants(op, 1) if op.name == "RESHAPE" else None
    if told is not None and not _same_shape(told, y.shape):
        raise w.refused(op, f"it asks for {told}, its result is {y.shape}")
    known = w.constant(op.inputs[0])
    if known is not None and prod(y.shape) == known.size:
        w.known[op.outputs[0]] = known.reshape(y.shape)
        return
    _checked(w, op, (x,), y)
    if prod(x.shape) != prod(y.shape):
        raise w.refused(op, f"{x.shape} to {y.shape}")
    name = w.result(op.outputs[0], image=False)
    # In rows, TFLite's own order: a Reshape of (N, C, H, W) would join other values.
    shape = w.weight(np.array(y.shape, np.int64), f"{name}.shape")
    w.made(op.outputs[0], w.moved("Reshape", (w.in_rows(op.inputs[0]),), x, name, (shape,)))


def _same_shape(told: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a shape is what was asked for, where -1 leaves an extent open."""
    return len(told) == len(shape) and all(a in (-1, b) for a, b in zip(told, shape, strict=True))


def transpose(w: OnnxWriter, op: TfliteOperator) -> None:
    """TRANSPOSE by a constant permutation."""
    x, y = one_operand(w, op)
    perm = w.constants(op, 1)
    if perm is None or sorted(perm) != list(range(len(x.shape))):
        raise w.refused(op, "its permutation is not known")
    _checked(w, op, (x,), y)
    name = w.result(op.outputs[0], image=False)
    w.made(
        op.outputs[0],
        w.moved("Transpose", (w.in_rows(op.inputs[0]),), x, name, given={"perm": list(perm)}),
    )


def pad(w: OnnxWriter, op: TfliteOperator) -> None:
    """PAD with zeros, PADV2 with a constant."""
    x, y = one_operand(w, op)
    amounts, rank = w.constants(op, 1), len(x.shape)
    if amounts is None or len(amounts) != 2 * rank or min(amounts) < 0:
        raise w.refused(op, "its amounts are not known")
    _checked(w, op, (x,), y)
    # A real number: PAD fills codes with their zero point.
    value = 0.0
    if op.name == "PADV2":
        given = w.constant(op.inputs[2]) if len(op.inputs) > 2 else None
        if given is None or given.size != 1:
            raise w.refused(op, "its value is not known")
        value = float(given.reshape(-1)[0])
        value = (value - x.zero) * x.scale if x.dtype in CODES else value
    image = rank == 4 and w.is_image(op.inputs[0])
    # IMAGE_AXES gives each axis of NHWC its place in NCHW; the inverse lists them in that order.
    order = np.argsort(IMAGE_AXES) if image else np.arange(rank)
    pairs = np.array(amounts, np.int64).reshape(rank, 2)[order]
    name = w.result(op.outputs[0], image=image)
    further = (
        # TFLite has (before, after) of each axis, ONNX all that come before, then all after.
        w.weight(pairs.T.reshape(-1), f"{name}.amounts"),
        w.weight(np.array(value, np.float32), f"{name}.value"),
    )
    made = w.moved("Pad", (w.at(op.inputs[0], image=image),), x, name, further)
    w.made(op.outputs[0], made, image=image)


def concat(w: OnnxWriter, op: TfliteOperator) -> None:
    """CONCATENATION of tensors with one quantization."""
    y = w.tensor(op.outputs[0])
    if not op.inputs or min(op.inputs) < 0:
        raise w.refused(op, "operands are missing")
    operands, options = [w.tensor(each) for each in op.inputs], op.options("Concatenation")
    _checked(w, op, operands, y)
    if activation_of(options) != "NONE":
        raise w.refused(op, "an activation in it")
    rank = len(y.shape)
    axis = options.integer("axis") % max(rank, 1)
    image = rank == 4 and any(w.is_image(each) for each in op.inputs)
    name = w.result(op.outputs[0], image=image)
    names = [w.at(each, image=image) for each in op.inputs]
    place = IMAGE_AXES[axis] if image else axis
    w.made(op.outputs[0], w.moved("Concat", names, y, name, given={"axis": place}), image=image)


def strided_slice(w: OnnxWriter, op: TfliteOperator) -> None:
    """STRIDED_SLICE with constant bounds and steps above 0; SLICE by sizes."""
    x, y = one_operand(w, op)
    rank = len(x.shape)
    first, second = w.constants(op, 1), w.constants(op, 2)
    if first is None or second is None or not len(first) == len(second) <= rank:
        raise w.refused(op, "its bounds are not known")
    _checked(w, op, (x,), y)
    if op.name == "SLICE":
        # A size of -1 takes all that is left.
        ends = [x.shape[i] if n == -1 else first[i] + n for i, n in enumerate(second)]
        bounds = list(zip(first, ends, [1] * len(ends), strict=True))
    else:
        bounds = _bounds(w, op, first, second)
    _cut(w, op, bounds)


def _bounds(
    w: OnnxWriter, op: TfliteOperator, first: Sequence[int], last: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Where each axis begins, ends and its step, as the masks say."""
    options, (x, _) = op.options("StridedSlice"), one_operand(w, op)
    steps = w.constants(op, 3)
    if steps is None or len(steps) != len(first) or min(steps, default=1) < 1:
        raise w.refused(op, "steps that are not known, or not above 0")
    if options.integer("ellipsis_mask") or options.integer("new_axis_mask"):
        raise w.refused(op, "an ellipsis or new axes")
    # With this option the ends are counted from the begins.
    if options.integer("offset"):
        last = [begin + extent for begin, extent in zip(first, last, strict=True)]
    found = []
    for axis, (start, stop, step) in enumerate(zip(first, last, steps, strict=True)):
        extent, bit = x.shape[axis], 1 << axis
        begin = 0 if options.integer("begin_mask") & bit else _place(start, extent)
        end = extent if options.integer("end_mask") & bit else _place(stop, extent)
        # One element is taken whatever the end says; the result's shape drops the axis.
        if options.integer("shrink_axis_mask") & bit:
            end = begin + 1
        found.append((begin, min(end, extent), step))
    return found


def _place(place: int, extent: int) -> int:
    """A place on an axis, which may be counted from its end."""
    return min(max(place + extent if place < 0 else place, 0), extent)


def _cut(w: OnnxWriter, op: TfliteOperator, bounds: Sequence[tuple[int, int, int]]) -> None:
    x, y = one_operand(w, op)
    known, number = w.constant(op.inputs[0]), op.outputs[0]
    if known is not None:
        w.known[number] = known[tuple(slice(*each) for each in bounds)].reshape(y.shape)
        return
    if any(begin >= end for begin, end, _ in bounds):
        raise w.refused(op, "a result without elements")
    kept = tuple(-(-(end - begin) // step) for begin, end, step in bounds)
    shape = (*kept, *x.shape[len(kept) :])
    if prod(shape) != prod(y.shape):
        raise w.refused(op, f"{shape} to {y.shape}")
    shrinks = shape != y.shape
    image = len(x.shape) == 4 and w.is_image(op.inputs[0]) and not shrinks
    name = w.result(number, image=image)
    made = _sliced(w, op.inputs[0], bounds, f"{name}.cut" if shrinks else name, image=image)
    if shrinks:
        sizes = w.weight(np.array(y.shape, np.int64), f"{name}.shape")
        made = w.moved("Reshape", (made,), y, name, (sizes,))
    w.made(number, made, image=image)


def _sliced(
    w: OnnxWriter, number: int, bounds: Sequence[tuple[int, int, int]], name: str, *, image: bool
) -> str:
    """Bounds, by the axes of TFLite's layout, of a tensor in one of the layouts."""
    places = [IMAGE_AXES[axis] if image else axis for axis in range(len(bounds))]
    begins, ends, steps = (np.array(each, np.int64) for each in zip(*bounds, strict=True))
    further = [
        w.weight(values, f"{name}.{what}")
        for what, values in (
            ("starts", begins), ("ends", ends), ("axes", np.array(places, np.int64)),
            ("steps", steps),
        )
    ]  # fmt: skip
    return w.moved("Slice", (w.at(number, image=image),), w.tensor(number), name, further)


def split(w: OnnxWriter, op: TfliteOperator) -> None:
    """SPLIT (axis first) and SPLIT_V (sizes and axis behind)."""
    by_sizes = op.name == "SPLIT_V"
    if len(op.inputs) < (3 if by_sizes else 2):
        raise w.refused(op, "operands are missing")
    number = op.inputs[0 if by_sizes else 1]
    x, axes = w.tensor(number), w.constants(op, 2 if by_sizes else 0)
    if axes is None or len(axes) != 1 or not x.shape:
        raise w.refused(op, "its axis is not known")
    axis, begin = axes[0] % len(x.shape), 0
    image = len(x.shape) == 4 and w.is_image(number)
    for output in op.outputs:
        y = w.tensor(output)
        _checked(w, op, (x,), y)
        if len(y.shape) != len(x.shape):
            raise w.refused(op, f"{x.shape} to {y.shape}")
        bounds = [(0, extent, 1) for extent in x.shape]
        bounds[axis] = (begin, begin + y.shape[axis], 1)
        begin += y.shape[axis]
        name = w.result(output, image=image)
        w.made(output, _sliced(w, number, bounds, name, image=image), image=image)
    if begin != x.shape[axis]:
        raise w.refused(op, f"parts of {begin} places of {x.shape[axis]}")


def depth(w: OnnxWriter, op: TfliteOperator) -> None:
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH."""
    x, y = one_operand(w, op)
    kind = "DepthToSpace" if op.name == "DEPTH_TO_SPACE" else "SpaceToDepth"
    block = op.options(kind).integer("block")
    if len(x.shape) != 4 or block < 1:
        raise w.refused(op, f"blocks of {block} on {len(x.shape)} axes")
    _checked(w, op, (x,), y)
    name = w.result(op.outputs[0], image=True)
    made = w.moved(kind, (w.in_image(op.inputs[0]),), x, name, given={"blocksize": block})
    w.made(op.outputs[0], made, image=True)
