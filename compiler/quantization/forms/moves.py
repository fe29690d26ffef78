"""Moves of values along axes behind the batch, as rows that are taken in a constant order."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    _Rows = NDArray[np.int64]  # their numbers along an axis
    Nodes = list[onnx.NodeProto] | None

_MODES = ("edge", "reflect", "wrap")  # by these names numpy's, too


def pad(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Padding with the tensor's own values takes rows; negative amounts are a Slice, and what is
    said of some axes is said of all.
    """
    fixed, amounts = facts.fixed(node.input[0]), _amounts(facts, node)
    if fixed is None or amounts is None or any(amounts[0]):
        return None
    mode = operators.attributes(node).get("mode", "constant")
    w = NodeWriter(facts=facts, node=node)
    if mode == "constant":
        return _pad_with_a_number(w, fixed, amounts)
    padded = {axis: each for axis, each in enumerate(amounts) if any(each)}
    far = any(max(each) >= fixed[axis - 1] for axis, each in padded.items())
    # What wraps around when the other end is cut off is not the same to everybody.
    unclear = mode == "wrap" and any(min(each) < 0 for each in padded.values())
    if mode not in _MODES or far or not padded or unclear:
        return None
    rows = {
        axis: _cut(np.pad(np.arange(fixed[axis - 1]), _grown(each), mode), each)
        for axis, each in padded.items()
    }
    return _taken(w, node.input[0], rows)


def slice_(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Steps backwards take rows; those forwards stay a Slice."""
    fixed = facts.fixed(node.input[0])
    bounds = [facts.constant(node, place) for place in range(1, len(node.input))]
    steps = facts.constant(node, 4)
    if fixed is None or steps is None or (steps > 0).all():
        return None
    starts, ends, axes = (None if each is None else each.tolist() for each in bounds[:3])
    if starts is None or ends is None:
        return None
    rows = {}
    rank = 1 + len(fixed)
    axes = [axis % rank for axis in axes or range(len(starts))]
    for start, end, axis, step in zip(starts, ends, axes, steps.tolist(), strict=True):
        if axis == 0:
            return None
        # ONNX and Python agree on ends below -extent: down to the first row, inclusive.
        rows[axis] = np.arange(fixed[axis - 1])[slice(start, end, step)]
    return _taken(NodeWriter(facts=facts, node=node), node.input[0], rows)


def _amounts(facts: ModelFacts, node: "onnx.NodeProto") -> list[tuple[int, int]] | None:
    """Before and after each axis; None where that is not constant."""
    constant, axes = facts.constant(node, 1), facts.constant(node, 3)
    rank = len(facts.shapes.get(node.input[0], ()))
    if constant is None or (axes is None and any(node.input[3:])):
        return None
    listed = range(rank) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
    found = [(0, 0)] * rank
    half = len(listed)
    for i, axis in enumerate(listed):
        # ONNX has what comes before of all axes, then what comes behind.
        found[axis] = (int(constant[i]), int(constant[half + i]))
    return found


def _grown(each: tuple[int, int]) -> tuple[int, int]:
    return max(0, each[0]), max(0, each[1])


def _cut(rows: "_Rows", each: tuple[int, int]) -> "_Rows":
    return rows[max(0, -each[0]) : len(rows) - max(0, -each[1])]


def _pad_with_a_number(
    w: NodeWriter, fixed: tuple[int, ...], amounts: list[tuple[int, int]]
) -> "Nodes":
    source, value = w.node.input[0], list(w.node.input[2:3])
    cut = {axis: each for axis, each in enumerate(amounts) if min(each) < 0}
    if not cut and not any(w.node.input[3:]):
        return None
    grows = any(max(each) > 0 for each in amounts)
    if cut:
        starts = w.numbers(*(max(0, -before) for before, _ in cut.values()))
        ends = w.numbers(*(fixed[axis - 1] - max(0, -after) for axis, (_, after) in cut.items()))
        axes = w.numbers(*cut)
        result = "" if grows else w.node.output[0]
        source = w.op("Slice", source, starts, ends, axes, result=result)
    if grows or not cut:
        grown = [_grown(each) for each in amounts]
        numbers = w.numbers(*(before for before, _ in grown), *(after for _, after in grown))
        w.op("Pad", source, numbers, *value, result=w.node.output[0])
    return w.nodes


def _taken(w: NodeWriter, source: str, rows: "dict[int, _Rows]") -> "Nodes":
    """The rows of these numbers along each axis."""
    if not all(len(numbers) for numbers in rows.values()):
        return None
    for axis, numbers in rows.items():
        result = w.node.output[0] if axis == [*rows][-1] else ""
        source = w.op("Gather", source, w.numbers(*numbers), axis=axis, result=result)
    return w.nodes
