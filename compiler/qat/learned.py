"""Which numbers of a QDQ model are trained, where they stand in it, and how they go back there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.four_bits import bits_of
from edgekiln.compiler.qat import recurrent
from edgekiln.compiler.qat.numbers import LearnedBias, LearnedScale, LearnedWeight
from edgekiln.compiler.qat.values import QuantizedValue
from edgekiln.compiler.quantization.products import WEIGHT_BITS
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from edgekiln.compiler.qat.qdq_graph import QdqGraph


class StoredCodes(nn.Module):
    """A quantized constant that is not trained, as one operand of a sum."""

    def __init__(self, steps: "NDArray[np.integer]", scale: float, zero: int, kind: str) -> None:
        super().__init__()
        ends = np.iinfo(kind)
        self._zero, self._limits = zero, (float(ends.min - zero), float(ends.max - zero))
        self.steps: Tensor
        self.scale: Tensor
        self.register_buffer("steps", torch.from_numpy(steps.astype(np.float32)))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def forward(self) -> QuantizedValue:
        return QuantizedValue(
            steps=self.steps, scale=self.scale, zero=self._zero, limits=self._limits
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """Args:
    scale_of: by the name of a scale in the file; several may be one.
    weight_of, bias_of, constant_of: by what a DequantizeLinear of a constant gives; of a recurrent
        layer by the names in the file, and the scale of its states by that of its inverse.
    """

    scales: list[LearnedScale]
    scale_of: Mapping[str, int]
    weights: list[LearnedWeight]
    weight_of: Mapping[str, int]
    biases: list[LearnedBias]
    bias_of: Mapping[str, int]
    constants: list[StoredCodes]
    constant_of: Mapping[str, int]


def learned_of(graph: "QdqGraph", source: "onnx.ModelProto | None", bits: int) -> Learned:
    """Args:
    source: the float model, in whose nodes of the same names the weights are.
    bits: of a weight.
    """
    roles = _roles(graph)
    reals, of_bias = _real_weights(graph, source), _bits_of_biases(graph, bits)
    weights, biases, constants = {}, {}, {}
    for name, node in graph.stored.items():
        codes, scale = graph.constants[node.input[0]], graph.constants[node.input[1]]
        along = int(operators.attributes(node).get("axis", 1)) % max(1, codes.ndim)
        scales = scale.reshape(-1).astype(np.float32)
        if roles.get(name) == "weight" and codes.dtype == np.int8:
            own = bits_of(codes.shape, bits, WEIGHT_BITS)
            weights[name] = LearnedWeight(codes, scales, along, reals.get(name), own)
        elif roles.get(name) == "bias" and codes.ndim == 1:
            biases[name] = LearnedBias(codes, scales, of_bias.get(name, WEIGHT_BITS))
        else:
            constants[name] = _stored(graph, node, codes, scales)
    for layer in graph.layers:
        _add_layer(graph, layer, weights, biases, bits)
    scale_of, scales_made = _scales(graph)
    return Learned(
        scales=scales_made,
        scale_of=scale_of,
        weights=list(weights.values()),
        weight_of={name: place for place, name in enumerate(weights)},
        biases=list(biases.values()),
        bias_of={name: place for place, name in enumerate(biases)},
        constants=list(constants.values()),
        constant_of={name: place for place, name in enumerate(constants)},
    )


def _add_layer(
    graph: "QdqGraph", layer: "onnx.NodeProto", weights: dict[str, LearnedWeight],
    biases: dict[str, LearnedBias], bits: int,
) -> None:  # fmt: skip
    """The numbers of a recurrent layer, by their own names. Its factors are its weights' scales.

    Args:
        bits: of a weight that data are multiplied with; those of the state have all.
    """
    of_data = bits_of(graph.constants[layer.input[recurrent.INPUTS]].shape, bits, WEIGHT_BITS)
    for place, scale, own in (
        (recurrent.INPUTS, recurrent.X_FACTORS, of_data),
        (recurrent.WEIGHTS, recurrent.FACTORS, WEIGHT_BITS),
    ):
        codes = layer.input[place]
        factors = graph.constants[layer.input[scale]].astype(np.float32)
        weights[codes] = LearnedWeight(graph.constants[codes], factors, 1, None, own)
    of_state = [(recurrent.OWN, recurrent.FACTORS, WEIGHT_BITS)]
    for place, scale, own in (
        (recurrent.X_BIAS, recurrent.X_FACTORS, of_data),
        *([] if recurrent.is_lstm(layer) else of_state),
    ):
        factors = graph.constants[layer.input[scale]].astype(np.float32)
        biases[layer.input[place]] = LearnedBias(graph.constants[layer.input[place]], factors, own)


def _stored(
    graph: "QdqGraph", node: "onnx.NodeProto", codes: "NDArray[np.generic]",
    scales: "NDArray[np.float32]",
) -> StoredCodes:  # fmt: skip
    if scales.size != 1 or codes.dtype.kind not in "iu":
        raise UnsupportedError(
            f"constant {node.input[0]!r} has {scales.size} scales, and is no operand of a product",
            hint="quantize without --qat-epochs",
        )
    zero, _ = graph.zero_of(node)
    steps = codes.astype(np.int64) - zero
    return StoredCodes(steps, float(scales[0]), zero, codes.dtype.name)


def _roles(graph: "QdqGraph") -> dict[str, str]:
    """What the dequantized constants are to those who read them."""
    found = {}
    for node in graph.nodes:
        row = operators.of(node.proto)
        if row is None or row.weights is None:
            continue
        for place, role in ((1, "weight"), (2, "bias")):
            name = node.proto.input[place] if place < len(node.proto.input) else ""
            # Of a product of activations, a constant is one of them.
            if name in graph.stored and (node.proto.op_type != "MatMul" or _is_matrix(graph, name)):
                found[name] = role
    return found


def _bits_of_biases(graph: "QdqGraph", bits: int) -> dict[str, int]:
    """Bits of the weights beside each bias, by what a DequantizeLinear gives."""
    found = {}
    for node in graph.nodes:
        weight, bias = (*node.proto.input, "", "", "")[1:3]
        if weight in graph.stored and bias in graph.stored:
            shape = graph.constants[graph.stored[weight].input[0]].shape
            found[bias] = bits_of(shape, bits, WEIGHT_BITS)
    return found


def _is_matrix(graph: "QdqGraph", name: str) -> bool:
    return graph.constants[graph.stored[name].input[0]].ndim == 2


def _real_weights(
    graph: "QdqGraph", source: "onnx.ModelProto | None"
) -> "dict[str, NDArray[np.float32]]":
    """What the quantizer rounded: the operand of the node of the same name."""
    import onnx

    if source is None:
        return {}
    arrays = {w.name: w for w in source.graph.initializer}
    before = {node.name: node for node in source.graph.node}
    found = {}
    for node in graph.nodes:
        old = before.get(node.proto.name)
        if old is None or len(old.input) < 2 or len(node.proto.input) < 2:
            continue
        name, was = node.proto.input[1], old.input[1]
        if name in graph.stored and was in arrays and old.op_type == node.proto.op_type:
            array = onnx.numpy_helper.to_array(arrays[was])
            if array.shape == graph.constants[graph.stored[name].input[0]].shape:
                found[name] = array
    return found


def _scales(graph: "QdqGraph") -> tuple[dict[str, int], list[LearnedScale]]:
    """The scales of activations; those that a Concat joins stay one, so that nothing needs to be
    requantized.
    """
    elements: dict[str, int] = {}
    largest: dict[str, float] = {}
    quantizers = [node.proto for node in graph.nodes if node.proto.op_type == "QuantizeLinear"]
    for node in quantizers:
        name = node.input[1]
        elements[name] = max(elements.get(name, 1), graph.elements(node.input[0]))
        largest[name] = graph.zero_of(node)[1][1] or 1.0
    firsts = {name: float(graph.constants[name].item()) for name in elements}
    for layer in graph.layers:
        zero = int(graph.constants[layer.input[recurrent.ZERO]].item())
        for name in _of_states(graph, layer):
            elements.setdefault(name, graph.elements(layer.output[0]))
            largest.setdefault(name, recurrent.limits_of(zero)[1] or 1.0)
            firsts[name] = float(np.float32(operators.attributes(layer)["y_scale"]))
    leader = {name: name for name in elements}
    states = [_of_states(graph, layer) for layer in graph.layers]
    for group in (*_joined(graph, quantizers), *states):
        first = leader[group[0]]
        for name in group[1:]:
            if firsts[name] == firsts[first]:
                old = leader[name]
                leader = {each: first if to == old else to for each, to in leader.items()}
    leaders = list(dict.fromkeys(leader.values()))
    made = [LearnedScale(firsts[n], elements[n], abs(largest[n])) for n in leaders]
    return {name: leaders.index(to) for name, to in leader.items()}, made


def _joined(graph: "QdqGraph", quantizers: "list[onnx.NodeProto]") -> list[list[str]]:
    """The scales of each Concat: of its result and of its operands."""
    views = {
        node.proto.output[0]: node.proto.input[1]
        for node in graph.nodes
        if node.proto.op_type == "DequantizeLinear"
    }
    behind = {node.input[0]: node.input[1] for node in quantizers}
    return [
        [behind[node.proto.output[0]], *(views[name] for name in node.proto.input if name in views)]
        for node in graph.nodes
        if node.proto.op_type == "Concat" and node.proto.output[0] in behind
    ]


def _of_states(graph: "QdqGraph", layer: "onnx.NodeProto") -> list[str]:
    """The scales of a recurrent layer's states: its own, for which its inverse stands, those of who
    reads their codes, and that of an LSTM's first one.
    """
    names = [layer.input[recurrent.INVERSE]]
    for node in (each.proto for each in graph.nodes):
        reads = node.op_type == "DequantizeLinear" and node.input[0] == layer.output[0]
        begins = node.op_type == "QuantizeLinear" and node.output[0] == layer.input[recurrent.FIRST]
        if reads or begins:
            names.append(node.input[1])
    return list(dict.fromkeys(names))
