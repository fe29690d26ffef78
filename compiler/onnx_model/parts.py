"""Functions that a model writes out in parts: the nodes between one tensor and a result of it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Parts:
    """What lies between `x` and the result of the last node, and is read by nobody else."""

    x: str
    nodes: "tuple[onnx.NodeProto, ...]"  # in the model's order

    @property
    def result(self) -> str:
        """What the last node makes."""
        return str(self.nodes[-1].output[0])

    @property
    def kinds(self) -> frozenset[str]:
        """The operators."""
        return frozenset(node.op_type for node in self.nodes)


def ending_in(
    facts: ModelFacts, end: "onnx.NodeProto", kinds: Collection[str], most: int
) -> Iterator[Parts]:
    """The parts in front of a node, for each tensor that all of them are of; the nearest first.

    Args:
        facts: of a model whose constants are folded.
        kinds: operators of ONNX's own that may be among them.
        most: nodes.
    """
    order = {name: place for place, name in enumerate(facts.makers)}
    found = {end.output[0]: end}
    ends = _operands(facts, end)
    while ends and len(found) <= most:
        if len(ends) == 1:
            nodes = sorted(found.values(), key=lambda node: order[node.output[0]])
            yield Parts(next(iter(ends)), tuple(nodes))
        # What is made last: nothing that is still open can be behind it.
        last = max(ends, key=lambda name: order.get(name, -1))
        maker = facts.makers.get(last)
        inside = all(reader.output[0] in found for reader in facts.readers[last])
        if maker is None or not inside or last in facts.outputs or not _is_part(maker, kinds):
            return
        found[last] = maker
        ends = (ends - {last}) | _operands(facts, maker)


def _is_part(node: "onnx.NodeProto", kinds: Collection[str]) -> bool:
    return node.op_type in kinds and node.domain in ("", "ai.onnx") and len(node.output) == 1


def _operands(facts: ModelFacts, node: "onnx.NodeProto") -> set[str]:
    return {name for name in node.input if name and name not in facts.constants}
