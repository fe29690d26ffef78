"""Where rows that may not be there go: which axis of an operator's result they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts


@dataclass(frozen=True, kw_only=True)
class Rows:
    """`axis` of a tensor: its rows are those of `source`, which says which are there."""

    axis: int
    source: str


# Of several operands or one, value by value.
_EACH = frozenset(
    "Abs Add And Cast Ceil Clip Div Elu Equal Erf Exp Floor Greater GreaterOrEqual HardSigmoid "
    "Identity LeakyRelu Less LessOrEqual Log Max Min Mod Mul Neg Not Or Pow Reciprocal Relu Round "
    "Sigmoid Sign Sqrt Sub Sum Tanh Where Xor".split()
)
_ONNX = ("", "ai.onnx")


def result(facts: "ModelFacts", node: "onnx.NodeProto", rows: Mapping[str, Rows]) -> Rows | None:
    """The rows of a node's results; None where they would no longer be rows, or nothing is known.

    Args:
        rows: those of tensors; at least one of the node's operands has some.
    """
    with_rows = [rows[name] for name in node.input if name in rows]
    known = all(name in facts.shapes or name in facts.constants for name in node.input if name)
    if len({each.source for each in with_rows}) != 1 or node.domain not in _ONNX or not known:
        return None
    ranks = [_rank(facts, name) for name in node.input]
    source, first = with_rows[0].source, node.input[0] in rows
    if node.op_type in _EACH:
        axis = _each(facts, node, rows, ranks)
    elif node.op_type in ("Gather", "GatherND") and not first:
        axis = _taken_by(node, rows, ranks)
    elif node.op_type == "Concat":
        axis = _joined(node, rows, ranks)
    elif first and len(with_rows) == 1 and node.op_type in _MOVED:
        reading = _Reading(facts=facts, node=node, axis=rows[node.input[0]].axis, ranks=ranks)
        axis = _MOVED[node.op_type](reading)
    else:
        axis = None
    return None if axis is None else Rows(axis=axis, source=source)


def _rank(facts: "ModelFacts", name: str) -> int:
    value = facts.constants.get(name)
    return len(facts.shapes.get(name, ())) if value is None else value.ndim


def _each(
    facts: "ModelFacts", node: "onnx.NodeProto", rows: Mapping[str, Rows], ranks: list[int]
) -> int | None:
    """Axes are counted from the last one, where shapes are aligned."""
    behind = {ranks[i] - rows[name].axis for i, name in enumerate(node.input) if name in rows}
    if len(behind) != 1:
        return None
    (place,) = behind
    for name in node.input:
        shape = facts.static(name) if name and name not in rows else ()
        # What has no such axis, or one value along it, is the same for each row.
        if shape is None or (len(shape) >= place and shape[-place] != 1):
            return None
    return max(ranks) - place


def _taken_by(node: "onnx.NodeProto", rows: Mapping[str, Rows], ranks: list[int]) -> int | None:
    """Rows are numbers of what is taken."""
    given, by = operators.attributes(node), rows[node.input[1]].axis
    if node.op_type == "Gather":
        return int(given.get("axis", 0)) % ranks[0] + by
    return by if by < ranks[1] - 1 and not given.get("batch_dims", 0) else None


def _joined(node: "onnx.NodeProto", rows: Mapping[str, Rows], ranks: list[int]) -> int | None:
    axes = {rows[name].axis if name in rows else -1 for name in node.input}
    along = int(operators.attributes(node).get("axis", 0)) % max(ranks[0], 1)
    return axes.pop() if len(axes) == 1 and along not in axes else None


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """A node that reads rows alone, with constants beside them."""

    facts: "ModelFacts"
    node: "onnx.NodeProto"
    axis: int  # of the rows
    ranks: list[int]

    @property
    def rank(self) -> int:
        return self.ranks[0]

    def along(self, default: int = 0) -> int:
        """The axis that the node says, counted from the first."""
        return int(operators.attributes(self.node).get("axis", default)) % self.rank

    def listed(self, attribute: str, place: int) -> list[int] | None:
        """What is an attribute in old operator sets and an operand in new ones."""
        given = operators.attributes(self.node).get(attribute)
        if given is not None:
            return [int(each) for each in given]
        value = self.facts.constant(self.node, place)
        return None if value is None else [int(each) for each in value.reshape(-1)]


def _gathered(given: _Reading) -> int | None:
    along, fixed = given.along(), given.node.input[1] in given.facts.constants
    if along == given.axis or not fixed:
        return None
    return given.axis if given.axis < along else given.axis + given.ranks[1] - 1


def _split(given: _Reading) -> int | None:
    return None if given.along() == given.axis else given.axis


def _transposed(given: _Reading) -> int | None:
    order = operators.attributes(given.node).get("perm", range(given.rank)[::-1])
    return list(order).index(given.axis)


def _cut(given: _Reading) -> int | None:
    axes, starts = given.listed("axes", 3), given.listed("starts", 1)
    if axes is None and starts is not None and len(given.node.input) < 4:
        axes = list(range(len(starts)))  # so many, the first ones
    if axes is None or given.axis in [each % given.rank for each in axes]:
        return None
    return given.axis


def _squeezed(given: _Reading) -> int | None:
    axes = given.listed("axes", 1)
    if axes is None or given.axis in (gone := [each % given.rank for each in axes]):
        return None
    return given.axis - sum(each < given.axis for each in gone)


def _unsqueezed(given: _Reading) -> int | None:
    axes = given.listed("axes", 1)
    if axes is None:
        return None
    rank = given.rank + len(axes)
    new = [each % rank for each in axes]
    return [place for place in range(rank) if place not in new][given.axis]


def _reshaped(given: _Reading) -> int | None:
    """The axis that stays one: as many values before it, and behind it, as there were."""
    facts, node, axis = given.facts, given.node, given.axis
    shape, wanted = facts.shapes.get(node.input[0], ()), facts.constant(node, 1)
    before, behind = shape[:axis], shape[axis + 1 :]
    if wanted is None or not all(isinstance(extent, int) for extent in (*before, *behind)):
        return None
    target = [int(each) for each in wanted.reshape(-1)]
    if not operators.attributes(node).get("allowzero", 0):
        known = [extent if isinstance(extent, int) else -1 for extent in shape]
        target = [
            known[i] if each == 0 and i < len(known) else each for i, each in enumerate(target)
        ]
    if target.count(-1) != 1:
        return None
    place = target.index(-1)
    counts = [prod(each for each in part if isinstance(each, int)) for part in (before, behind)]
    return place if [prod(target[:place]), prod(target[place + 1 :])] == counts else None


_MOVED: Mapping[str, Callable[[_Reading], int | None]] = {
    "Gather": _gathered, "Reshape": _reshaped, "Slice": _cut, "Split": _split,
    "Squeeze": _squeezed, "Transpose": _transposed, "Unsqueeze": _unsqueezed,
}  # fmt: skip
