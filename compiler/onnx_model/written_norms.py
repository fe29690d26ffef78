"""Layer normalization in parts: what counts is which numbers they give."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.parts import (
    ARITHMETIC,
    Parts,
    Reals,
    WrittenOut,
    computed,
    ending_in,
)
from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx

_KINDS = frozenset(
    (*ARITHMETIC, "Expand", "Max", "Reciprocal", "ReduceMean", "ReduceSum", "Reshape", "Sqrt",
     "Squeeze", "Transpose", "Unsqueeze")
)  # fmt: skip
_CLOSE_NORM = 1e-3  # of what a channel varies; squares of float32 are subtracted in some forms
_ROUNDING = 1e-6  # of float32, of a channel's largest value
_LARGEST_EPSILON = 0.1
_CALLS, _ROWS = 8, 8  # of which a line is fitted, and rows of each


def layer_norm(facts: ModelFacts, end: "onnx.NodeProto") -> WrittenOut | None:
    """A normalization over one axis, with a weight and a bias for each of its places."""
    for parts in ending_in(facts, end, _KINDS):
        fixed = facts.fixed(parts.x)
        if not fixed or "Sqrt" not in parts.kinds or not {"ReduceMean", "ReduceSum"} & parts.kinds:
            continue
        batch = facts.shapes[parts.x][0]
        # Two samples show what is computed of all of them; some models take but one.
        sizes = (batch,) if isinstance(batch, int) else (2, 1)
        calls = next(filter(None, (_calls(facts, parts, (size, *fixed)) for size in sizes)), [])
        for order in _orders(parts, 1 + len(fixed)) if calls else ():
            if (found := _normalization(facts, parts, calls, order)) is not None:
                return found
    return None


_Calls = list[tuple[Reals, Reals]]  # what goes in, and what comes out


def _calls(facts: ModelFacts, parts: Parts, shape: tuple[int, ...]) -> _Calls:
    """What the parts make of values of very different size, so that what is added to the variance
    shows; none where they are of something else.
    """
    draw = np.random.default_rng(0)
    calls: _Calls = []
    function = computed(facts, parts, shape)
    if function is None:
        return []
    for size in np.geomspace(1e-3, 3.0, _CALLS):
        x = ((draw.normal(size=shape) + draw.normal() / 2) * size).astype(np.float32)
        y = function(x)
        if y is None or y.size != x.size or not np.isfinite(y).all():
            return []
        calls.append((x.astype(np.float64), y))
    return calls


def _orders(parts: Parts, rank: int) -> list[tuple[int, ...]]:
    """The orders of axes that the parts may give: as they are, or as one of them turns them."""
    moves = [operators.attributes(node) for node in parts.nodes if node.op_type == "Transpose"]
    turned = [tuple(move.get("perm", range(rank)[::-1])) for move in moves]
    # Behind a Squeeze or a Reshape one may be of fewer axes, or of more.
    return [tuple(range(rank)), *dict.fromkeys(each for each in turned if len(each) == rank)]


def _normalization(
    facts: ModelFacts, parts: Parts, calls: _Calls, order: tuple[int, ...]
) -> WrittenOut | None:
    """The normalization over one axis of what `order` makes of the operand."""
    if any(x.transpose(order).shape != y.shape for x, y in calls):
        return None
    axes = tuple(range(len(order)))
    for axis in reversed(axes):  # mostly the last one
        # It is moved to the end; to move it back is the opposite order.
        to_end = (*axes[:axis], *axes[axis + 1 :], axis)
        rows = [(_rows(x.transpose(order), to_end), _rows(y, to_end)) for x, y in calls]
        for epsilon in _epsilons(facts, parts):
            if (line := _fitted(rows, epsilon)) is not None:
                before = tuple(order[each] for each in to_end)
                return WrittenOut(
                    parts=parts, op_type="LayerNormalization", opset=17,
                    attributes={"axis": -1, "epsilon": epsilon}, weights=line,
                    before=() if before == axes else before,
                    behind=() if to_end == axes else tuple(np.argsort(to_end).tolist()),
                )  # fmt: skip
    return None


def _epsilons(facts: ModelFacts, parts: Parts) -> list[float]:
    """What may be added to the variance: small constants of the parts."""
    found = []
    for node in parts.nodes:
        for name in node.input:
            constant = facts.constants.get(name)
            if constant is not None and constant.size and constant.dtype == np.float32:
                value = float(constant.reshape(-1)[0])
                if 0 < value < _LARGEST_EPSILON and (constant == constant.reshape(-1)[0]).all():
                    found.append(value)
    return list(dict.fromkeys(found))


def _rows(array: Reals, to_end: tuple[int, ...]) -> Reals:
    turned = array.transpose(to_end)
    return turned.reshape(-1, turned.shape[-1])


def _normal(x: Reals, epsilon: float) -> Reals:
    centred = x - x.mean(axis=1, keepdims=True)
    normal: Reals = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon)
    return normal


def _fitted(rows: _Calls, epsilon: float) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Weight and bias of the normalization that makes the second of the first in every row; both
    are (rows, channels).
    """
    normal = np.concatenate([_normal(x[:_ROWS], epsilon) for x, _ in rows])
    y = np.concatenate([some[:_ROWS] for _, some in rows])
    about = normal - normal.mean(axis=0)
    spread = (about**2).sum(axis=0)
    if (spread == 0).any():
        return None
    weight = (about * y).sum(axis=0) / spread
    bias = y.mean(axis=0) - weight * normal.mean(axis=0)
    if not np.abs(weight).max() > 0:
        return None
    for x, given in rows:
        varying = _normal(x, epsilon) * weight
        # Each channel by its own size: a large bias in one hides nothing in the others.
        most = _CLOSE_NORM * np.abs(varying).max(axis=0) + _ROUNDING * np.abs(given).max(axis=0)
        if (np.abs(varying + bias - given).max(axis=0) > most).any():
            return None
    return weight.astype(np.float32), bias.astype(np.float32)
