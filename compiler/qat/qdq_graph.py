"""What a network must know about a QDQ model before it computes it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.parts import functions_of_one_value
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, facts_of
from edgekiln.compiler.qat import recurrent
from edgekiln.compiler.qat.node import JoinedParts, QatNode
from edgekiln.compiler.qat.rounding import Limits
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx
    from numpy.typing import NDArray

_Q, _DQ = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, kw_only=True, eq=False)
class QdqGraph:
    """Args:
    nodes: in order, without the DequantizeLinear of constants.
    stored: what those give, by its name: the node.
    constants: the model's initializers.
    last_read: for each of `nodes`, the tensors that nobody reads behind it.
    zeros: what `zero_of` has found out.
    """

    model: "onnx.ModelProto"
    inputs: tuple[str, ...]
    nodes: tuple[QatNode, ...]
    stored: "Mapping[str, onnx.NodeProto]"
    constants: "Mapping[str, NDArray[np.generic]]"
    last_read: tuple[tuple[str, ...], ...]
    facts: ModelFacts
    zeros: "dict[str, tuple[int, Limits]]" = field(default_factory=dict)

    @property
    def layers(self) -> "list[onnx.NodeProto]":
        """The recurrent layers of codes."""
        return [node.proto for node in self.nodes if recurrent.is_layer(node.proto)]

    def zero_of(self, node: "onnx.NodeProto") -> tuple[int, Limits]:
        """The zero point of a Quantize- or DequantizeLinear, and the steps that its type has."""
        name = node.input[2]
        if name not in self.zeros:
            zero = self.constants[name].reshape(-1)
            ends, code = np.iinfo(zero.dtype.name), int(zero[0])
            self.zeros[name] = code, (float(ends.min - code), float(ends.max - code))
        return self.zeros[name]

    def elements(self, name: str) -> int:
        """How many numbers a sample of a tensor has; 1 where nobody knows."""
        return int(np.prod(self.facts.fixed(name) or (1,)))


def read(model: "onnx.ModelProto") -> QdqGraph:
    """Raises UnsupportedError for a model that remembers."""
    import onnx

    kept = dict(io.read_meta(model).states)
    if kept:
        raise UnsupportedError(
            "quantization-aware training takes no model that remembers",
            hint="quantize without --qat-epochs",
        )
    constants = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    stored = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == _DQ and node.input[0] in constants
    }
    facts = facts_of(model)
    joined = _joined(facts, [node for node in model.graph.node if node.output[0] not in stored])
    inside = {
        node.output[0]
        for each in joined.values()
        for node in each.parts.nodes
        if node.output[0] != each.parts.result
    }
    protos = [n for n in model.graph.node if n.output[0] not in stored.keys() | inside]
    leading = _Leading(model, protos)
    nodes = tuple(
        QatNode(
            proto=node,
            opset=opset,
            constants={i: constants[n] for i, n in enumerate(node.input) if n in constants},
            leading=leading.of(node),
            whole=any(map(recurrent.is_layer, protos)),
            joined=joined.get(node.output[0]),
        )
        for node in protos
    )
    return QdqGraph(
        model=model,
        inputs=tuple(v.name for v in model.graph.input if v.name not in constants),
        nodes=nodes,
        stored=stored,
        constants=constants,
        last_read=_last_read(nodes),
        facts=facts,
    )


def _joined(facts: ModelFacts, protos: "list[onnx.NodeProto]") -> dict[str, JoinedParts]:
    """The functions of codes that take several nodes, by what they make: to the program a table."""
    seen = {node.output[0] for node in protos if node.op_type == _DQ}
    found: dict[str, JoinedParts] = {}
    for parts in functions_of_one_value(facts, {node.name for node in protos}):
        if parts.x in seen:
            names = {name for node in parts.nodes for name in node.input}
            numbers = {name: facts.constants[name] for name in names if name in facts.constants}
            found[parts.result] = JoinedParts(parts=parts, constants=numbers)
    return found


def _last_read(nodes: tuple[QatNode, ...]) -> tuple[tuple[str, ...], ...]:
    last = {name: place for place, node in enumerate(nodes) for name in node.reads if name}
    # What nobody reads is an output, or for nobody.
    return tuple(
        tuple(name for name in dict.fromkeys(node.reads) if last.get(name) == place)
        for place, node in enumerate(nodes)
    )


class _Leading:
    """Which operand of a sum is a convolution's result that the sum alone reads.

    The integer program adds to such a one before it stores it.
    """

    def __init__(self, model: "onnx.ModelProto", nodes: "list[onnx.NodeProto]") -> None:
        self._makers = {name: node for node in nodes for name in node.output}
        self._place = {node.output[0]: place for place, node in enumerate(nodes)}
        self._outputs = {value.name for value in model.graph.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def of(self, node: "onnx.NodeProto") -> int:
        if node.op_type != "Add" or len(node.input) != 2 or node.input[0] == node.input[1]:
            return 0
        found = {i: conv for i in (0, 1) if (conv := self._convolution(node.input[i])) is not None}
        return max(found, key=lambda i: self._place[found[i].output[0]], default=0)

    def _convolution(self, name: str) -> "onnx.NodeProto | None":
        """The convolution of images whose codes are `name`, if one node reads them."""
        view = self._makers.get(name)
        if view is None or view.op_type != _DQ:
            return None
        codes = view.input[0]
        users = [user for each in self._readers.get(codes, []) for user in self._behind(each)]
        maker = self._makers.get(codes)
        if len(users) != 1 or codes in self._outputs or maker is None or maker.op_type != _Q:
            return None
        node = self._makers.get(maker.input[0])
        while node is not None and node.op_type in ("Relu", "Clip"):
            if len(self._readers[node.output[0]]) != 1:
                return None
            node = self._makers.get(node.input[0])
        return node if node is not None and node.op_type == "Conv" else None

    def _behind(self, reader: "onnx.NodeProto") -> "Iterable[str]":
        """Who reads codes: the readers of what is dequantized, and outputs."""
        if reader.op_type != _DQ:
            return [reader.name]
        real = reader.output[0]
        outputs = [real] if real in self._outputs else []
        return [*(user.name for user in self._readers.get(real, [])), *outputs]
