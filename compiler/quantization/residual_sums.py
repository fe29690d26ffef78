"""What of a transformer is better float: the sums of its residual stream, which every block adds to
and normalizes a copy of, and the activations between two products.

In 8 bits the stream is rounded anew at every sum, and the noise of all blocks adds up on the way:
24 sums that lose a signal of 38 dB each leave 24 dB. In floats it costs little time, for a sum is
nothing beside the products of a block, which stay integer.
"""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators, rewriting
from edgekiln.compiler.quantization import products
from edgekiln.compiler.quantization.rms_norms import rms_norms

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx

_NORM = "LayerNormalization"
VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")  # the same values in another shape
_CUTS = ("Clip", "Relu")
_FEWEST = 2  # one sum is rounded once, as any result is


def residual_sums(model: "onnx.ModelProto") -> frozenset[str]:
    """The names of the nodes that keep a stream in floats; none where there is no stream.

    They are the additions that a normalization of rows reads, sums that only such an addition reads
    (of the embeddings that a stream begins with), the normalizations that it reads (where blocks
    normalize behind their sum), and views: of the stream, which may change its shape on the way,
    and between a block's last product and its addition.
    """
    facts = rewriting.facts_of(model)
    sums: dict[str, onnx.NodeProto] = {}
    found: set[str] = set()
    normalized = [node.input[0] for node in model.graph.node if node.op_type == _NORM]
    normalized += [norm.tensor for norm in rms_norms(facts, list(model.graph.node))]
    for tensor in normalized:
        maker, views = _behind_views(facts, tensor)
        if maker is not None and maker.op_type == "Add":
            sums[maker.name] = maker
            found |= {view.name for view in views}
    if len(sums) < _FEWEST:
        return frozenset()
    weighted = products.real_weights(model)
    found |= sums.keys()
    waiting = list(sums.values())
    while waiting:
        for name in waiting.pop().input:
            maker, views = _behind_views(facts, name)
            if maker is not None and maker.op_type == _NORM:
                found.add(maker.name)
            of_stream = maker is not None and maker.name in found
            if maker is not None and not of_stream and _sums_only(facts, maker, weighted):
                found.add(maker.name)
                waiting.append(maker)
            for view in views:
                # Of a view that the sum alone reads, the product then gives floats.
                if not of_stream and facts.alone(view.output[0]) is None:
                    break
                found.add(view.name)
    return frozenset(found)


def _behind_views(
    facts: rewriting.ModelFacts, name: str
) -> "tuple[onnx.NodeProto | None, list[onnx.NodeProto]]":
    """What makes a tensor, but for its shape, and the views between, the last one first."""
    views: list[onnx.NodeProto] = []
    maker = facts.makers.get(name)
    while maker is not None and maker.op_type in VIEWS:
        views.append(maker)
        maker = facts.makers.get(maker.input[0])
    return maker, views


def _sums_only(
    facts: rewriting.ModelFacts, node: "onnx.NodeProto", weighted: "Collection[str]"
) -> bool:
    """Whether an addition is read by one node alone, and adds no bias to a product."""
    if node.op_type != "Add" or facts.alone(node.output[0]) is None:
        return False
    makers = (facts.makers.get(name) for name in node.input)
    return not any(maker is not None and maker.name in weighted for maker in makers)


def inner_activations(model: "onnx.ModelProto") -> frozenset[str]:
    """The names of the nodes that compute value by value between two products with weights: a GELU,
    a gate's sigmoid and multiplications. ReLU and what else is cut off needs no floats.
    """
    facts = rewriting.facts_of(model)
    weighted = products.real_weights(model)
    found: set[str] = set()
    for node in model.graph.node:
        if node.name in weighted:
            path = _computed_before(facts, node.input[0], weighted)
            if any(each.op_type not in (*_CUTS, *VIEWS) for each in path):
                found.update(each.name for each in path)
    return frozenset(found)


def _computed_before(
    facts: rewriting.ModelFacts, tensor: str, weighted: "Collection[str]"
) -> "list[onnx.NodeProto]":
    """What stands between a tensor and the products it is made of; nothing where more than that
    does.
    """
    path: list[onnx.NodeProto] = []
    waiting, inside = [tensor], set()
    while waiting:
        name = waiting.pop()
        if name in facts.constants or name in inside:
            continue
        maker = facts.makers.get(name)
        if maker is not None and maker.name in weighted:
            continue
        if maker is None or not _is_by_value(maker) or name in facts.outputs:
            return []
        inside.add(name)
        path.append(maker)
        waiting += [each for each in maker.input if each]
    return path


def _is_by_value(node: "onnx.NodeProto") -> bool:
    row = operators.of(node)
    return node.op_type in (*VIEWS, *_CUTS, "Add", "Mul") or (row is not None and row.lookup)
