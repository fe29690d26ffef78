"""GELU and layer normalization that are written out, as exporters to older operator sets do, in one
operator each.

In parts each of them is rounded to codes of its own: noise in GELU, the end of a normalization,
whose squares 8 bits do not hold. There are many ways to write them out, so none of them is looked
for: what counts is which numbers the parts give.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.parts import Parts, ending_in
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, rewrite
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

Reals = NDArray[np.float64]

_ENDS = ("Add", "Div", "Mul", "Sub")
_ARITHMETIC = ("Add", "Div", "Identity", "Mul", "Neg", "Pow", "Sub")
_OF_GELU = frozenset((*_ARITHMETIC, "Erf", "Tanh"))
_OF_NORM = frozenset(
    (*_ARITHMETIC, "Expand", "Max", "Reciprocal", "ReduceMean", "ReduceSum", "Reshape", "Sqrt",
     "Squeeze", "Transpose", "Unsqueeze")
)  # fmt: skip
_MOST_PARTS = 24
_POINTS = np.linspace(-9.0, 9.0, 361)
# Between the constants that exporters write, in seven digits and more, and in float32; the two
# forms of GELU differ by up to 5e-4.
_CLOSE = 5e-6
_CLOSE_NORM = 1e-3  # of what a channel varies; squares of float32 are subtracted in some forms
_ROUNDING = 1e-6  # of float32, of a channel's largest value
_LARGEST_EPSILON = 0.1
_MOST_ELEMENTS = 1 << 22  # of what is computed to see what it is
_CALLS, _ROWS = 8, 8  # of which a line is fitted, and rows of each


@dataclass(frozen=True, kw_only=True)
class WrittenOut:
    """Parts, and the operator that gives their numbers."""

    parts: Parts
    op_type: str
    opset: int  # that has it
    attributes: Mapping[str, float | int | str]
    weights: tuple[NDArray[np.float32], ...] = ()
    # Orders of axes in front of it and behind it; none leaves them as they are.
    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()


def written_out(facts: ModelFacts) -> Iterator[WrittenOut]:
    """Each one, from the end of the model to its beginning; `facts` of folded constants."""
    gone: set[str] = set()
    for name, node in reversed(facts.makers.items()):
        if name in gone or node.op_type not in _ENDS or node.domain not in ("", "ai.onnx"):
            continue
        found = _gelu(facts, node) or _layer_norm(facts, node)
        if found is not None:
            gone.update(each.output[0] for each in found.parts.nodes)
            yield found


def opset_wanted(facts: ModelFacts) -> int:
    """The operator set that has what the model writes out; 0 where it writes out nothing."""
    return max((each.opset for each in written_out(facts)), default=0)


def write_as_one(model: "onnx.ModelProto") -> int:
    """Rewrite in place what the model's operator set has an operator for; how many nodes went."""
    found: list[dict[str, list[onnx.NodeProto]]] = []

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        if not found:
            found.append(_instead(facts))
        return found[0].get(node.output[0])

    return rewrite(model, rule)


def _instead(facts: ModelFacts) -> "dict[str, list[onnx.NodeProto]]":
    """What stands in the place of each part, by what that makes: nothing but for the last one."""
    instead: dict[str, list[onnx.NodeProto]] = {}
    for each in written_out(facts):
        if each.opset <= facts.opset:
            instead |= {node.output[0]: [] for node in each.parts.nodes}
            instead[each.parts.result] = _nodes(facts, each)
    return instead


def _nodes(facts: ModelFacts, found: WrittenOut) -> "list[onnx.NodeProto]":
    w = NodeWriter(facts=facts, node=found.parts.nodes[-1])
    x, result = found.parts.x, found.parts.result
    if found.before:
        x = w.op("Transpose", x, perm=list(found.before))
    weights = [w.constant(value) for value in found.weights]
    last = "" if found.behind else result
    made = w.op(found.op_type, x, *weights, result=last, **found.attributes)
    if found.behind:
        w.op("Transpose", made, perm=list(found.behind), result=result)
    return w.nodes


def _gelu(facts: ModelFacts, end: "onnx.NodeProto") -> WrittenOut | None:
    for parts in ending_in(facts, end, _OF_GELU, _MOST_PARTS):
        numbers = all(
            facts.constants[name].size == 1
            for node in parts.nodes
            for name in node.input
            if name in facts.constants
        )
        if not numbers or not {"Erf", "Tanh"} & parts.kinds:
            continue
        rank = len(facts.shapes.get(parts.x, ()))
        points = _POINTS.astype(np.float32).reshape(*[1] * (rank - 1), -1)
        function = _function(facts, parts, points.shape)
        given = None if function is None else function(points)
        for approximate, exact in _FORMS.items():
            # Constants of more axes than the operand give the result these axes.
            if given is None or given.shape != points.shape:
                continue
            error = np.abs(given.reshape(-1) - exact)
            if np.all(error <= _CLOSE * np.maximum(1.0, np.abs(_POINTS))):
                return WrittenOut(
                    parts=parts, op_type="Gelu", opset=20, attributes={"approximate": approximate}
                )
    return None


def _layer_norm(facts: ModelFacts, end: "onnx.NodeProto") -> WrittenOut | None:
    """A normalization over one axis, with a weight and a bias for each of its places."""
    for parts in ending_in(facts, end, _OF_NORM, _MOST_PARTS):
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
    function = _function(facts, parts, shape)
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


def _function(
    facts: ModelFacts, parts: Parts, shape: Sequence[int]
) -> Callable[[NDArray[np.float32]], Reals | None] | None:
    """What ONNX Runtime makes of the parts alone; None where they are not of floats, or of more
    than is computed for this.
    """
    import onnx

    if parts.x not in facts.floats or math.prod(shape) > _MOST_ELEMENTS:
        return None
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    read = dict.fromkeys(name for node in parts.nodes for name in node.input)
    graph = helper.make_graph(
        list(parts.nodes),
        "parts",
        [helper.make_tensor_value_info(parts.x, real, shape)],
        [helper.make_tensor_value_info(parts.result, real, None)],
        [onnx.numpy_helper.from_array(facts.constants[name], name)
         for name in read if name in facts.constants],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", facts.opset)])
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    with suppress(UnsupportedError):  # what is wrong with it, the whole model's session will say
        session = Session(model, optimize=False)

        def compute(x: NDArray[np.float32]) -> Reals | None:
            with suppress(UnsupportedError):
                return session({parts.x: x})[0].astype(np.float64)
            return None

        return compute
    return None


_erf: Callable[[Reals], Reals] = np.vectorize(math.erf, otypes=[np.float64])
# Hendrycks and Gimpel, Gaussian Error Linear Units, 2016 (arXiv:1606.08415), section 2.
_FORMS: Mapping[str, Reals] = {
    "none": 0.5 * _POINTS * (1 + _erf(_POINTS / math.sqrt(2))),
    "tanh": 0.5
    * _POINTS
    * (1 + np.tanh(math.sqrt(2 / math.pi) * (_POINTS + 0.044715 * _POINTS**3))),
}
