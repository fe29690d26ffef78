"""GELU, hard-swish, hard-sigmoid and layer normalization that are written out, as exporters to
older operator sets do, in one operator each.

In parts each of them is rounded to codes of its own: noise in a function, the end of a
normalization, whose squares 8 bits do not hold. There are many ways to write them out, so none of
them is looked for: what counts is which numbers the parts give.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.parts import WrittenOut
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, rewrite
from edgekiln.compiler.onnx_model.written_functions import of_one_value
from edgekiln.compiler.onnx_model.written_norms import layer_norm

if TYPE_CHECKING:
    import onnx

_ENDS = ("Add", "Clip", "Div", "Min", "Mul", "Sub")


def written_out(facts: ModelFacts) -> Iterator[WrittenOut]:
    """Each one, from the end of the model to its beginning; `facts` of folded constants."""
    gone: set[str] = set()
    for name, node in reversed(facts.makers.items()):
        if name in gone or node.op_type not in _ENDS or node.domain not in ("", "ai.onnx"):
            continue
        found = of_one_value(facts, node) or layer_norm(facts, node)
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
