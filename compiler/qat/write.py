"""A trained network's numbers, back in the QDQ model that it was made of."""

from typing import TYPE_CHECKING

import numpy as np
import torch

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
    model = onnx.ModelProto()
    model.CopyFrom(network.graph.model)
    for stored in model.graph.initializer:
        if (array := numbers.get(stored.name)) is not None:
            before = onnx.numpy_helper.to_array(stored)
            shaped = array.astype(before.dtype).reshape(before.shape)
            stored.CopyFrom(onnx.numpy_helper.from_array(shaped, stored.name))
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
        node = graph.stored[name]
        found[node.input[0]] = _array(weights[name].steps)
        found[node.input[1]] = _array(weights[name].scale)
    views = {
        node.proto.output[0]: scales[learned.scale_of[node.proto.input[1]]]
        for node in graph.nodes
        if node.proto.op_type == "DequantizeLinear"
    }
    for each in graph.nodes:
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


def _array(tensor: "Tensor") -> "NDArray[np.generic]":
    array: NDArray[np.generic] = tensor.detach().cpu().numpy()
    return array
