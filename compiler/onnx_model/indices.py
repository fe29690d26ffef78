"""Indices that a program computes stay inside what they index: neither it nor TVM checks them.

ONNX leaves open what an index outside means. ONNX Runtime ends with an error, which a program
without a way to report one cannot do: it takes the nearest value inside.
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, rewrite
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

_OPERATORS = frozenset(
    "Gather GatherElements GatherND MaxRoiPool MaxUnpool RoiAlign Scatter ScatterElements "
    "ScatterND".split()
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Indices:
    """The operand of a node that holds indices, and the least and the greatest that are inside:
    of one number, or of one a coordinate.
    """

    place: int
    least: "NDArray[np.int64] | NDArray[np.float32]"
    greatest: "NDArray[np.int64] | NDArray[np.float32]"


def bound_indices(model: "onnx.ModelProto", where: str) -> int:
    """Put bounds in front of indices that are computed or given at run time.

    Args:
        model: with static shapes.
        where: the file, with which an error begins.

    Returns:
        How many operators were rewritten.

    Raises:
        InputError: an index that is constant lies outside.
    """

    if _OPERATORS.isdisjoint(node.op_type for node in model.graph.node):
        return 0

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        found = _indices(facts, node)
        if found is None:
            return None
        constant = facts.constant(node, found.place)
        if constant is None:
            return None if _has_bounds(facts, node) else _bounded(facts, node, found)
        outside = (constant < found.least) | (constant > found.greatest)
        if outside.any():
            raise InputError(
                f"{where}: operator {node.op_type} ({node.output[0]!r}) has the index "
                f"{constant[outside].reshape(-1)[0]:g} where it may be from "
                f"{found.least.reshape(-1)[0]:g} to {found.greatest.reshape(-1)[0]:g}",
                hint="export it again",
            )
        return None

    return rewrite(model, rule)


def _has_bounds(facts: ModelFacts, node: "onnx.NodeProto") -> bool:
    """Whether our own kernel computes the operator, which takes the nearest row by itself."""
    data, indices = (facts.dtypes.get(name) for name in node.input[:2])
    return node.op_type == "Gather" and data == "float32" and indices in ("int32", "int64")


def _bounded(facts: ModelFacts, node: "onnx.NodeProto", found: _Indices) -> "list[onnx.NodeProto]":
    w, source = NodeWriter(facts=facts, node=node), node.input[found.place]
    # NaN, as the number of an image, is not inside: it becomes the least.
    for inside, limit in (("Greater", found.least), ("Less", found.greatest)):
        bound = w.constant(limit.astype(facts.dtypes[node.input[found.place]]))
        source = w.op("Where", w.op(inside, source, bound), source, bound)
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[found.place] = source
    return [*w.nodes, copy]


def _indices(facts: ModelFacts, node: "onnx.NodeProto") -> _Indices | None:
    """None for an operator without indices, or one whose operands have no static shape."""
    data = facts.static(node.input[0]) if node.input else None
    if not data or node.domain not in ("", "ai.onnx"):
        return None
    given = operators.attributes(node)
    # Nothing is between these: what no case changes has no indices to bound.
    place, least, greatest = 1, np.array(0), np.array(-1)
    match node.op_type:
        case "Gather" | "GatherElements" | "Scatter" | "ScatterElements":
            # ONNX counts indices below 0 from the end of the axis.
            extent = data[given.get("axis", 0) % len(data)]
            least, greatest = np.array(-extent), np.array(extent - 1)
        case "GatherND" | "ScatterND" if shape := facts.static(node.input[1]):
            first = given.get("batch_dims", 0)
            extents = np.array(data[first : first + shape[-1]], np.int64)
            least, greatest = -extents, extents - 1
        case "MaxUnpool" if made := facts.static(node.output[0]):
            # MaxPool's indices count in the whole flat tensor, over samples and channels.
            greatest = np.array(prod(made) - 1)
        case "RoiAlign":
            place, greatest = 2, np.array(data[0] - 1)
        case "MaxRoiPool":  # a row is the number of an image and four corners
            least, greatest = np.full(5, -np.inf, np.float32), np.full(5, np.inf, np.float32)
            least[0], greatest[0] = 0, data[0] - 1
    known = greatest.size and (least <= greatest).all()
    return _Indices(place=place, least=least, greatest=greatest) if known else None
