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
    addition reads (where blocks normalize behind their sum), and views between a block's last
    product and its addition.
    """
    facts = rewriting.facts_of(model)
    normalized = {node.input[0] for node in model.graph.node if node.op_type in _NORMS}
    sums = [
        node for node in model.graph.node if node.op_type == "Add" and node.output[0] in normalized
    ]
    if len(sums) < _FEWEST:
        return frozenset()
    found = {node.name for node in sums}
    for node in sums:
        for name in node.input:
            maker = facts.makers.get(name)
            if maker is not None and maker.op_type in _NORMS:
                found.add(maker.name)
            # A view between a block's last product and the sum: the product then gives floats.
            while maker is not None and maker.op_type in _VIEWS and facts.alone(maker.output[0]):
                found.add(maker.name)
                maker = facts.makers.get(maker.input[0])
    return frozenset(found)
