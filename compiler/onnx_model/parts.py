"""Functions that a model writes out in parts: the nodes between one tensor and a result of it."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.rewriting import ModelFacts
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

Reals = NDArray[np.float64]

ARITHMETIC = ("Add", "Div", "Identity", "Mul", "Neg", "Pow", "Sub")
MOST_PARTS = 24
_MOST_ELEMENTS = 1 << 22  # of what is computed to see what it is


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


def ending_in(facts: ModelFacts, end: "onnx.NodeProto", kinds: Collection[str]) -> Iterator[Parts]:
    """The parts in front of a node, for each tensor that all of them are of; the nearest first.

    Args:
        facts: of a model whose constants are folded.
        kinds: operators of ONNX's own that may be among them.
    """
    order = {name: place for place, name in enumerate(facts.makers)}
    found = {end.output[0]: end}
    ends = _operands(facts, end)
    while ends and len(found) <= MOST_PARTS:
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


def functions_of_one_value(facts: ModelFacts, names: Collection[str]) -> Iterator[Parts]:
    """The functions of one value among nodes of these names that take several of them, each as
    large as it can be: what depends on numbers and on one tensor alone, value by value.

    A Relu or Clip at its beginning is none of it: what it lets through is a smaller range.
    """
    taken: set[str] = set()
    nodes = [each for each in reversed(facts.makers.values()) if each.name in names]
    kinds = {each.op_type for each in nodes if operators.unary(each.op_type, each.domain)}
    for node in nodes:
        if node.output[0] in taken or not _is_part(node, kinds):
            continue
        found = [
            parts
            for parts in ending_in(facts, node, kinds)
            if len(parts.nodes) > 1 and _is_function(facts, parts, names)
        ]
        if found:
            taken.update(each.output[0] for each in found[-1].nodes)
            yield found[-1]


def _is_function(facts: ModelFacts, parts: Parts, names: Collection[str]) -> bool:
    shape = facts.shapes.get(parts.x)
    read = {name for node in parts.nodes for name in node.input}
    first = [node for node in parts.nodes if parts.x in node.input]
    begins_clipped = len(first) == 1 and first[0].op_type in ("Clip", "Relu")
    return (
        parts.x in facts.floats
        and shape is not None
        and not begins_clipped
        and all(facts.constants[name].size == 1 for name in read & facts.constants.keys())
        and all(n.name in names and facts.shapes.get(n.output[0]) == shape for n in parts.nodes)
    )


def _is_part(node: "onnx.NodeProto", kinds: Collection[str]) -> bool:
    return node.op_type in kinds and node.domain in ("", "ai.onnx") and len(node.output) == 1


def _operands(facts: ModelFacts, node: "onnx.NodeProto") -> set[str]:
    return {name for name in node.input if name and name not in facts.constants}


def computed(
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
