"""What a softmax sees of the values that lead to it: a mask of -10,000 leaves scores no code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators, rewriting

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

# What lies so far below the largest value of its row is exp(-16), a ten-millionth, to a softmax.
_SEEN = 16.0
# What gives a row its values, of which operands.
_OPERANDS: Mapping[str, slice] = {
    "Add": slice(2), "Div": slice(1), "Identity": slice(1), "Max": slice(None), "Min": slice(None),
    "Mul": slice(2), "Reshape": slice(1), "Sub": slice(1), "Where": slice(1, 3),
}  # fmt: skip
# What a mask goes through, besides, on its way to the scores.
_OF_MASKS = ("Cast", "Concat", "Expand", "Gather", "Slice", "Squeeze", "Tile", "Transpose")


@dataclass(frozen=True, kw_only=True)
class SoftmaxView:
    """How a softmax looks at a tensor that nobody reads on another way.

    Args:
        scores: the softmax's own input.
        axis: of the softmax.
        span: how far below the largest visible value of a row there is something to see.
    """

    scores: str
    axis: int
    span: float = _SEEN

    def seen(self, array: "NDArray[np.float32]", scores: "NDArray[np.float32]") -> (
        "NDArray[np.float32]"
    ):  # fmt: skip
        """The values, those raised that no softmax sees: as far as they stay below what it sees."""
        last = self.axis % scores.ndim == scores.ndim - 1
        if scores.shape != array.shape:
            if not last or scores.size != array.size or scores.shape[-1:] != array.shape[-1:]:
                return array  # a mask that all heads share, say
            scores = scores.reshape(array.shape)
        axis = -1 if last else self.axis
        visible = scores >= scores.max(axis, keepdims=True) - np.float32(_SEEN)
        highest = array.max(axis, keepdims=True, where=visible, initial=-np.inf)
        raised: NDArray[np.float32] = np.maximum(array, highest - np.float32(self.span))
        return raised


def softmax_views(model: "onnx.ModelProto") -> dict[str, SoftmaxView]:
    """The views of softmaxes, by the tensors that lead to one and to nothing else."""
    facts = rewriting.facts_of(model)
    found: dict[str, SoftmaxView] = {}
    for node in reversed(model.graph.node):
        if node.op_type == "Softmax":
            axis = operators.attributes(node).get("axis", -1)
            view = SoftmaxView(scores=node.input[0], axis=axis)
            carried = [(node.input[0], 1.0)]
        elif known := found.get(node.output[0]):
            view, carried = known, [*_carried(facts, node)]
        else:
            continue
        for name, factor in carried:
            if facts.alone(name) is not None:
                found[name] = replace(view, span=view.span / factor)
    return found


def leading_to_softmax(model: "onnx.ModelProto") -> frozenset[str]:
    """The tensors in which -inf means that a softmax gives no weight."""
    found: set[str] = set()
    for node in reversed(model.graph.node):
        if node.op_type == "Softmax":
            found.add(node.input[0])
        elif found.isdisjoint(node.output):
            continue
        elif node.op_type in _OPERANDS:
            found.update(node.input[_OPERANDS[node.op_type]])
        elif node.op_type in _OF_MASKS:
            found.update(node.input)
    return frozenset(found)


def _carried(facts: "ModelFacts", node: "onnx.NodeProto") -> Iterator[tuple[str, float]]:
    """The operands that give a node's result its values, and what each of them is multiplied by."""
    operands = node.input[_OPERANDS.get(node.op_type, slice(0))]
    factor: float | None = 1.0
    if node.op_type in ("Mul", "Div"):
        numbers = [value for name in node.input if (value := facts.constants.get(name)) is not None]
        alone = float(numbers[0].reshape(-1)[0]) if numbers and numbers[0].size == 1 else 0.0
        factor = None if alone <= 0 else alone if node.op_type == "Mul" else 1 / alone
    for name in operands:
        if factor is not None and name not in facts.constants:
            yield name, factor
