"""Operations that only move values: done on the integers, whatever follows."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from edgekiln.compiler.ir.codes import Fill, IntFinish
from edgekiln.compiler.ir.moves import (
    INDICES,
    DepthToSpace,
    Pad,
    Repeat,
    Requantize,
    Reshape,
    Slice,
    SpaceToDepth,
    Take,
    Transpose,
)  # fmt: skip
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.ops import Quantize
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.onnx_model.resize import REPEATING
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules import packed_tables
from edgekiln.compiler.passes.walk import OperatorEpilogue


def reshape(rw: Rewriter, node: Node) -> str | None:
    """Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout: the same values, the same order."""
    if any(rw.users.get(name) or name in rw.graph.outputs for name in node.outputs[1:]):
        return "its mask is used"
    if rw.source(node.inputs[0]) is None:
        return _quantize_first(rw, node, Reshape())
    rw.move(node, Reshape())
    return None


def transpose(rw: Rewriter, node: Node) -> str | None:
    """The same values in another order of axes."""
    rank = len(rw.graph.tensors[node.name].shape)
    op = Transpose(perm=onnx_op(node).integers("perm") or tuple(range(rank)[::-1]))
    if rw.source(node.inputs[0]) is None:
        return _quantize_first(rw, node, op)
    rw.move(node, op)
    return None


def _quantize_first(rw: Rewriter, node: Node, op: Op) -> str | None:
    """Move an input's floats as integers: Q(move(x)) = move(Q(x)), and integers are smaller."""
    epilogue = rw.epilogue(node.name)
    if node.inputs[0] not in rw.graph.inputs or epilogue is None or len(epilogue.absorbed) > 1:
        return "its input is not quantized"
    source = rw.graph.tensors[node.inputs[0]]
    name = _quantized_input(rw, source, epilogue)
    rw.take(epilogue)
    rw.make(op, (name,), epilogue.output)
    return None


def _quantized_input(rw: Rewriter, source: Tensor, epilogue: OperatorEpilogue) -> str:
    name = f"{epilogue.output}:input"
    rw.graph.put(Tensor(name=name, shape=source.shape, dtype=epilogue.dtype, quant=epilogue.quant))
    rw.make(Quantize(), (source.name,), name)
    return name


def pad(rw: Rewriter, node: Node) -> str | None:
    """Pad with a constant, coded in the scale in which it is used: the input's, if that has a code
    for it; else the result's.
    """
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    amounts, value = _pad_amounts(rw, node), _pad_value(rw, node)
    if isinstance(amounts, str):
        return amounts
    if value is None:
        return "its value is not constant"
    rank = len(x.shape)
    fill = Fill(value=rw.code(value, x))
    op = Pad(before=amounts[:rank], after=amounts[rank:], fill=fill)
    # A code for the value itself: nothing is rounded, and the codes stay as they are.
    if x.quant is None or x.quant.value(fill.value) == np.float32(value):
        rw.move(node, op)
        return None
    return _pad_requantized(rw, node, x, op, value)


def _pad_amounts(rw: Rewriter, node: Node) -> tuple[int, ...] | str:
    """So many values before each axis, then after each; or why there is no kernel."""
    op = onnx_op(node)
    mode = op.text("mode", "constant")
    if mode != "constant":
        return f"padding mode {mode!r} has no integer kernel"
    amounts = op.integers("pads")  # opset < 11
    if len(node.inputs) > 1:
        constant = rw.graph.constants.get(node.inputs[1])
        amounts = None if constant is None else tuple(constant.tolist())
    if amounts is None or (len(node.inputs) > 3 and node.inputs[3]):
        return "its amounts are not constant or not for all axes"
    return "negative padding has no integer kernel" if min(amounts) < 0 else amounts


def _pad_value(rw: Rewriter, node: Node) -> float | None:
    if len(node.inputs) <= 2 or not node.inputs[2]:
        return onnx_op(node).real("value", 0.0)
    constant = rw.constant(node.inputs[2])
    return None if constant is None else float(constant.reshape(-1)[0])


def _pad_requantized(rw: Rewriter, node: Node, x: Tensor, op: Pad, value: float) -> str | None:
    """Requantize to the result's parameters, and pad with its code for the value."""
    epilogue = rw.epilogue(node.name)
    if epilogue is None:
        return f"its input's codes have none for {value:g}"
    rw.take(epilogue)
    result, finish = rw.graph.tensors[epilogue.output], epilogue.finish
    assert isinstance(finish, IntFinish), node.name
    inner = x
    if (x.quant, x.dtype) != (result.quant, result.dtype) or len(epilogue.absorbed) > 1:
        inner = rw.graph.put(replace(result, name=f"{result.name}:inner", shape=x.shape))
        rw.make(Requantize(finish=finish), (x.name,), inner.name)
    # What is padded goes through the activation behind it, too.
    code = max(finish.qmin, min(finish.qmax, rw.code(value, result)))
    rw.make(replace(op, fill=Fill(value=code)), (inner.name,), result.name)
    return None


def slice_(rw: Rewriter, node: Node) -> str | None:
    """Slice with constant bounds and positive steps."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    known = [rw.graph.constants.get(name) if name else None for name in node.inputs[1:]]
    if len(known) < 2 or any(v is None for v, n in zip(known, node.inputs[1:], strict=True) if n):
        return "its bounds are not constant"
    bounds: list[list[int]] = [[] if v is None else v.tolist() for v in [*known, None, None]]
    starts, ends, axes, steps = bounds[:4]
    rank = len(x.shape)
    begin, step = [0] * rank, [1] * rank
    for i, axis in enumerate(axes or range(len(starts))):
        step[axis % rank] = steps[i] if steps else 1
        if step[axis % rank] <= 0:
            return "a negative step has no integer kernel"
        # Python clamps bounds as ONNX's Slice does. Where it ends, the result's shape says.
        begin[axis % rank] = slice(starts[i], ends[i]).indices(x.shape[axis % rank])[0]
    rw.move(node, Slice(begin=tuple(begin), steps=tuple(step)))
    return None


def gather(rw: Rewriter, node: Node) -> str | None:
    """Gather of constant indices in even steps: a slice; a single number also drops the axis. By
    other numbers, constant ones or such that the program is given or computes, rows are taken.
    """
    x, indices = rw.source(node.inputs[0]), rw.graph.constants.get(node.inputs[1])
    if indices is None:
        return _take(rw, node, node.inputs[1])
    if x is None:
        return "its input is not quantized"
    rank, axis = len(x.shape), onnx_op(node).integer("axis", 0)
    places = [int(index) % x.shape[axis % rank] for index in indices.reshape(-1)]
    # A single index has no distance: it is a slice of one, in steps of one.
    distances = {b - a for a, b in pairwise(places)} or {1}
    if indices.ndim > 1 or len(distances) > 1 or min(distances) <= 0:
        name = f"{node.name}:indices"
        rw.graph.constants[name] = np.array(places, np.int32).reshape(indices.shape)
        rw.graph.put(Tensor(name=name, shape=indices.shape, dtype="int32"))
        return _take(rw, node, name)
    begin, steps, shape = [0] * rank, [1] * rank, list(x.shape)
    begin[axis], steps[axis], shape[axis] = places[0], distances.pop(), len(places)
    taken = f"{node.name}:taken"
    rw.graph.put(replace(x, name=taken, shape=tuple(shape)))
    rw.make(Slice(begin=tuple(begin), steps=tuple(steps)), (x.name,), taken)
    rw.move(node, Reshape(), (taken,))
    return None


def _take(rw: Rewriter, node: Node, numbers: str) -> str | None:
    if packed_tables.is_packed(rw, node):
        return packed_tables.take(rw, node, numbers)
    table, indices = rw.constant(node.inputs[0]), rw.graph.tensors.get(numbers)
    x = rw.source(node.inputs[0])
    if table is not None:
        x = rw.operand(node.inputs[0], table.ndim)
    if x is None or not x.shape:
        return "its input is not quantized"
    if indices is None or indices.dtype not in INDICES:
        return "its indices are not int32 or int64"
    axis = onnx_op(node).integer("axis", 0) % len(x.shape)
    rw.move(node, Take(axis=axis), (x.name, indices.name))
    return None


def split(rw: Rewriter, node: Node) -> str | None:
    """Split: one slice an output."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    rank, axis = len(x.shape), onnx_op(node).integer("axis", 0)
    begin = [0] * rank
    for output in node.outputs:
        rw.move(node, Slice(begin=tuple(begin), steps=(1,) * rank), output=output)
        begin[axis % rank] += rw.graph.tensors[output].shape[axis % rank]
    return None


def resize(rw: Rewriter, node: Node) -> str | None:
    """Resize to whole multiples by the nearest value: each value is repeated."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    op = onnx_op(node)
    mode = op.text("mode", "nearest")
    if mode != "nearest":
        return f"resizing by mode {mode!r} has no integer kernel"
    shape = rw.graph.tensors[node.name].shape
    # Only then does each value come equally often, whichever way coordinates are rounded.
    if any(out % extent for out, extent in zip(shape, x.shape, strict=True)):
        return "resizing to other than whole multiples has no integer kernel"
    modes = op.text("coordinate_transformation_mode", "half_pixel")
    rounding = op.text("nearest_mode", "round_prefer_floor")
    if (modes, rounding) not in REPEATING:
        return f"resizing by {modes!r} and {rounding!r} has no integer kernel"
    repeats = tuple(out // extent for out, extent in zip(shape, x.shape, strict=True))
    rw.move(node, Repeat(repeats=repeats))
    return None


def depth_to_space(rw: Rewriter, node: Node) -> str | None:
    """Both orders of the channels become this copy."""
    return _blocks(rw, node, DepthToSpace)


def space_to_depth(rw: Rewriter, node: Node) -> str | None:
    """Both orders of the channels become this copy."""
    return _blocks(rw, node, SpaceToDepth)


def _blocks(rw: Rewriter, node: Node, kind: type[DepthToSpace] | type[SpaceToDepth]) -> str | None:
    if rw.source(node.inputs[0]) is None:
        return "its input is not quantized"
    op = onnx_op(node)
    block = op.integer("blocksize", 1)
    rw.move(node, kind(block=block, channels_first=op.text("mode", "DCR") == "CRD"))
    return None
