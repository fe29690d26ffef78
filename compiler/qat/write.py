"""A trained network's numbers, back in the QDQ model that it was made of."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.qat import recurrent

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from edgekiln.compiler.qat.network import QuantizedNetwork


def to_model(network: "QuantizedNetwork") -> "onnx.ModelProto":
    """A copy of the network's model with the codes and scales that its forward computes with."""
    import onnx

    with torch.no_grad():
        numbers = _numbers(network)
        of_codes = _scales_of_codes(network)
    model = onnx.ModelProto()
    model.CopyFrom(network.graph.model)
    for stored in model.graph.initializer:
        if (array := numbers.get(stored.name)) is not None:
            before = onnx.numpy_helper.to_array(stored)
            shaped = array.astype(before.dtype).reshape(before.shape)
            stored.CopyFrom(onnx.numpy_helper.from_array(shaped, stored.name))
    for node in filter(recurrent.is_layer, model.graph.node):
        for attribute in node.attribute:
            if attribute.name in recurrent.SCALES:
                attribute.f = float(of_codes[recurrent.SCALES[attribute.name](node)])
    return model


def _numbers(network: "QuantizedNetwork") -> "dict[str, NDArray[np.generic]]":
    """What is written, by the name of the initializer."""
    graph, learned = network.graph, network.learned
    found: dict[str, NDArray[np.generic]] = {}
    scales = [scale() for scale in network.scales]
    for name, place in learned.scale_of.items():
        found[name] = _array(scales[place])
    weights = {}
    for name, place in learned.weight_of.items():
        weights[name] = network.weights[place]()
        if name not in graph.stored:
            continue  # of a recurrent layer
        node = graph.stored[name]
        found[node.input[0]] = _array(weights[name].steps)
        found[node.input[1]] = _array(weights[name].scale)
    views = {
        node.proto.output[0]: scales[learned.scale_of[node.proto.input[1]]]
        for node in graph.nodes
        if node.proto.op_type == "DequantizeLinear"
    }
    for layer in graph.layers:
        found |= _layer_numbers(network, layer)
    for each in graph.nodes:
        if recurrent.is_layer(each.proto):
            continue
        name = each.proto.input[2] if len(each.proto.input) > 2 else ""
        if name not in learned.bias_of:
            continue
        x, weight = each.proto.input[:2]
        of_sums = views[x] * weights[weight].scale
        steps = network.biases[learned.bias_of[name]](of_sums)
        stored = graph.stored[name]
        found[stored.input[0]] = _array(steps)
        found[stored.input[1]] = np.broadcast_to(
            _array(of_sums), graph.constants[stored.input[1]].shape
        )
    return found


def _layer_numbers(
    network: "QuantizedNetwork", layer: "onnx.NodeProto"
) -> "dict[str, NDArray[np.generic]]":
    """What is written of a recurrent layer."""
    learned, of_codes = network.learned, _scales_of_codes(network)
    said = operators.attributes(layer)
    found: dict[str, NDArray[np.generic]] = {}
    own = () if recurrent.is_lstm(layer) else (recurrent.OWN,)
    for codes, to, biases, scale in (
        (recurrent.INPUTS, recurrent.X_FACTORS, (recurrent.X_BIAS,), "x_scale"),
        (recurrent.WEIGHTS, recurrent.FACTORS, own, "y_scale"),
    ):
        weight = network.weights[learned.weight_of[layer.input[codes]]]()
        today = of_codes[recurrent.SCALES[scale](layer)]
        factors = recurrent.moved_factors(weight, today, float(said[scale]))
        found[layer.input[codes]] = _array(weight.steps)
        found[layer.input[to]] = _array(factors)
        for place in biases:
            name = layer.input[place]
            found[name] = _array(network.biases[learned.bias_of[name]](factors))
    found[layer.input[recurrent.INVERSE]] = _array(1 / of_codes[layer.output[0]])
    return found


def _scales_of_codes(network: "QuantizedNetwork") -> "dict[str, Tensor]":
    """The scale of each tensor of codes that the model makes."""
    scales = [scale() for scale in network.scales]
    of_name = {name: scales[place] for name, place in network.learned.scale_of.items()}
    found = {}
    for node in (each.proto for each in network.graph.nodes):
        if node.op_type == "QuantizeLinear":
            found[node.output[0]] = of_name[node.input[1]]
        elif recurrent.is_layer(node):
            found[node.output[0]] = of_name[node.input[recurrent.INVERSE]]
    return found


def _array(tensor: "Tensor") -> "NDArray[np.generic]":
    array: NDArray[np.generic] = tensor.detach().cpu().numpy()
    return array
