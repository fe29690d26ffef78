"""One range for what a concatenation joins, so that its operands need no requantization."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Self

from edgekiln.compiler.onnx_model import io, operators
from edgekiln.compiler.quantization.ranges import Range

if TYPE_CHECKING:
    import onnx

# An operand with a quarter of the result's span would lose two of its eight bits.
_LEAST_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Tensors of one range. It may not leave [floor, ceiling]: the quantizer removes a Relu or Clip
    and leaves its work to the saturation at the ends of the range.
    """

    low: float
    high: float
    floor: float = -inf
    ceiling: float = inf

    def union(self, other: Self) -> Self:
        return replace(
            self,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            floor=max(self.floor, other.floor),
            ceiling=min(self.ceiling, other.ceiling),
        )

    @property
    def keeps_its_clips(self) -> bool:
        return self.floor <= self.low and self.high <= self.ceiling

    @property
    def width(self) -> float:
        return max(self.high, 0.0) - min(self.low, 0.0)


class _Groups:
    """Disjoint sets of tensors."""

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        self._leader = {name: name for name in ranges}
        self._groups = {name: _Group(low=low, high=high) for name, (low, high) in ranges.items()}

    def leader(self, name: str) -> str:
        while self._leader[name] != name:
            name = self._leader[name]
        return name

    def __getitem__(self, name: str) -> _Group:
        return self._groups[self.leader(name)]

    def limit(self, name: str, floor: float, ceiling: float) -> None:
        self._groups[name] = replace(self._groups[name], floor=floor, ceiling=ceiling)

    def join(self, a: str, b: str) -> None:
        a, b = self.leader(a), self.leader(b)
        if a != b:
            self._groups[a] = self._groups[a].union(self._groups[b])
            self._leader[b] = a


def joint_ranges(
    model: "onnx.ModelProto",
    nodes: "Iterable[onnx.NodeProto]",
    ranges: Mapping[str, Range],
) -> dict[str, Range]:
    """The ranges, those of a Concat's operands and result made equal, and those of a state's ends:
    what one call leaves is then the very codes that the next one reads.

    An operand keeps its own range, and is requantized, where the result's is much larger, or would
    undo a Relu or Clip.

    Args:
        nodes: of the model, that become integer.
        ranges: of every activation they read or write; constants have none.
    """
    groups = _Groups(ranges)
    kept = [node for node in nodes if node.output[0] in ranges]
    # Limits first, for sets that are joined take theirs along; then what shares a range in any
    # case; a Concat's operands last, when it is known how wide their ranges have become.
    for node in kept:
        if node.op_type in ("Relu", "Clip"):
            groups.limit(node.output[0], *_bounds(model, node))
    for node in kept:
        row = operators.of(node)
        same = row is not None and row.role == "pass-through"
        if same and node.input[0] in ranges:
            for name in node.output:
                if name in ranges:
                    groups.join(node.input[0], name)
    for node in kept:
        if node.op_type == "Concat":
            _join_operands(groups, node, [name for name in node.input if name in ranges])
    for name, next_name in io.read_meta(model).states:
        if name in ranges and next_name in ranges:
            groups.join(name, next_name)
    return {name: (groups[name].low, groups[name].high) for name in ranges}


def _join_operands(groups: _Groups, node: "onnx.NodeProto", operands: list[str]) -> None:
    for name in operands:
        result, operand = groups[node.output[0]], groups[name]
        together = result.union(operand)
        if together.keeps_its_clips and operand.width >= _LEAST_SHARE * together.width:
            groups.join(node.output[0], name)


def _bounds(model: "onnx.ModelProto", node: "onnx.NodeProto") -> Range:
    """What a Relu, or a Clip with constant bounds, lets through."""
    from onnx import numpy_helper

    if node.op_type == "Relu":
        return 0.0, inf
    known = {weight.name: weight for weight in model.graph.initializer}
    bounds = [-inf, inf]
    for i, name in enumerate(node.input[1:3]):
        if name in known:
            bounds[i] = float(numpy_helper.to_array(known[name]))
    return bounds[0], bounds[1]
