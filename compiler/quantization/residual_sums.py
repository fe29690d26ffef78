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
_FEWEST = 2  # one sum is rounded once, as any result is


def residual_sums(model: "onnx.ModelProto") -> frozenset[str]:
    """The names of the additions that a normalization of rows reads, and of the normalizations that
    such an addition reads (where blocks normalize behind their sum); none where there is no stream.
    """
    facts = rewriting.facts_of(model)
    normalized = {node.input[0] for node in model.graph.node if node.op_type in _NORMS}
    sums = [
        node for node in model.graph.node if node.op_type == "Add" and node.output[0] in normalized
    ]
    if len(sums) < _FEWEST:
        return frozenset()
    behind = {name for node in sums for name in node.input}
    norms = (maker for name in behind if (maker := facts.makers.get(name)) is not None)
    streams = {node.name for node in norms if node.op_type in _NORMS}
    return frozenset(node.name for node in sums) | streams
