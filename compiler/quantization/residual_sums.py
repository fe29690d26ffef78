"""The sums of a transformer's residual stream: what every block adds to, and normalizes a copy of.

In 8 bits the stream is rounded anew at every sum, and the noise of all blocks adds up on the way:
24 sums that lose a signal of 38 dB each leave 24 dB. In floats it costs little time, for a sum is
nothing beside the products of a block, which stay integer.
"""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import rewriting

if TYPE_CHECKING:
    import onnx

_NORMS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
_VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
_FEWEST = 2  # one sum is rounded once, as any result is


def residual_sums(model: "onnx.ModelProto") -> frozenset[str]:
    """The names of the nodes that keep a stream in floats; none where there is no stream.

    They are the additions that a normalization of rows reads, the normalizations that such an
    addition reads (where blocks normalize behind their sum), and views: of the stream, which may
    change its shape on the way, and between a block's last product and its addition.
    """
    facts = rewriting.facts_of(model)
    sums: dict[str, onnx.NodeProto] = {}
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _NORMS:
            maker, views = _behind_views(facts, node.input[0])
            if maker is not None and maker.op_type == "Add":
                sums[maker.name] = maker
                found |= {view.name for view in views}
    if len(sums) < _FEWEST:
        return frozenset()
    found |= sums.keys()
    for node in sums.values():
        for name in node.input:
            maker, views = _behind_views(facts, name)
            if maker is not None and maker.op_type in _NORMS:
                found.add(maker.name)
            of_stream = maker is not None and maker.name in found
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
    while maker is not None and maker.op_type in _VIEWS:
        views.append(maker)
        maker = facts.makers.get(maker.input[0])
    return maker, views
