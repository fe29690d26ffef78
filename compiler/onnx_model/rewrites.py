"""Rewrites of float ONNX graphs that make every operation one the quantizer knows."""

from typing import TYPE_CHECKING, Any

from edgekiln.compiler.onnx_model import io

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


def pool_from_reduce_mean(model: "onnx.ModelProto") -> int:
    """Rewrite the mean over height and width of an NCHW tensor to GlobalAveragePool (+ Flatten).

    The quantizer skips ReduceMean, and every target has a pooling kernel. Left alone: other axes,
    other ranks, axes that are no constant.

    Returns:
        How many were rewritten.
    """
    known = shapes(model)
    nodes: list[onnx.NodeProto] = []
    rewritten = 0
    for node in model.graph.node:
        image = len(known.get(node.input[0], ())) == 4 if node.input else False
        if image and node.op_type == "ReduceMean" and _reduced_axes(model, node) == {2, 3}:
            nodes += _pooling(node)
            rewritten += 1
        else:
            nodes.append(node)
    replace_nodes(model, nodes)
    return rewritten


def depthwise_from_batch_norm(model: "onnx.ModelProto") -> int:
    """Rewrite the batch norm of an image to a depthwise 1×1 convolution.

    y = γ (x − μ) / √(σ² + ε) + β is one weight and one bias a channel: as a convolution it has an
    integer form. Meant for those that no convolution before them takes in (DenseNet, pre-activation
    ResNets). Left alone: other ranks, statistics that are no constant.

    Returns:
        How many were rewritten.
    """
    import onnx

    known = shapes(model)
    constants = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    rewritten = 0
    for node in model.graph.node:
        constant = all(name in constants for name in node.input[1:])
        if (
            node.op_type == "BatchNormalization"
            and constant
            and len(known.get(node.input[0], ())) == 4
        ):
            conv, weights = _depthwise(node, [constants[name] for name in node.input[1:]])
            nodes.append(conv)
            model.graph.initializer.extend(weights)
            rewritten += 1
        else:
            nodes.append(node)
    replace_nodes(model, nodes)
    return rewritten


def batch_norms_after_conv(model: "onnx.ModelProto") -> list[str]:
    """Names of BatchNormalization nodes that directly follow a convolution: not folded."""
    convs = {out for n in model.graph.node if n.op_type == "Conv" for out in n.output}
    return [
        node.name or node.output[0]
        for node in model.graph.node
        if node.op_type == "BatchNormalization" and node.input[0] in convs
    ]


def shapes(model: "onnx.ModelProto") -> dict[str, tuple[io.Extent, ...]]:
    """Of every activation whose shape can be inferred."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name: io.extents(value) for value in values}


def drop_unused_weights(model: "onnx.ModelProto") -> None:
    """Remove initializers that no node and no output reads."""
    used = {name for node in model.graph.node for name in node.input}
    used |= {value.name for value in model.graph.output}
    kept = [weight for weight in model.graph.initializer if weight.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _reduced_axes(model: "onnx.ModelProto", node: "onnx.NodeProto") -> set[int]:
    """Axes of a ReduceMean over a rank-4 tensor, as 0…3; empty when they are no constant."""
    import onnx

    axes: list[int] = []
    for attribute in node.attribute:
        if attribute.name == "axes":  # before opset 18
            axes = list(attribute.ints)
    if len(node.input) > 1:
        for weight in model.graph.initializer:
            if weight.name == node.input[1]:
                axes = onnx.numpy_helper.to_array(weight).tolist()
    return {axis % 4 for axis in axes}


def _pooling(node: "onnx.NodeProto") -> "list[onnx.NodeProto]":
    import onnx

    keeps = all(a.i for a in node.attribute if a.name == "keepdims")  # default 1
    data, result = node.input[0], node.output[0]
    pooled = result if keeps else f"{result}_pooled"
    nodes = [onnx.helper.make_node("GlobalAveragePool", [data], [pooled], name=node.name)]
    if not keeps:
        name = f"{node.name}_flatten" if node.name else ""
        nodes.append(onnx.helper.make_node("Flatten", [pooled], [result], name=name, axis=1))
    for made in nodes:
        made.metadata_props.extend(node.metadata_props)
    return nodes


def _depthwise(
    node: "onnx.NodeProto", parameters: "list[NDArray[Any]]"
) -> "tuple[onnx.NodeProto, list[onnx.TensorProto]]":
    """The convolution that computes a batch norm, and its weight and bias."""
    import numpy as np
    import onnx

    gamma, beta, mean, variance = (array.astype(np.float64) for array in parameters)
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    slope = gamma / np.sqrt(variance + epsilon)
    result = node.output[0]
    weight, bias = f"{result}.weight", f"{result}.bias"
    tensors = [
        onnx.numpy_helper.from_array(slope.astype(np.float32).reshape(-1, 1, 1, 1), weight),
        onnx.numpy_helper.from_array((beta - mean * slope).astype(np.float32), bias),
    ]
    conv = onnx.helper.make_node(
        "Conv",
        [node.input[0], weight, bias],
        [result],
        name=node.name,
        group=len(slope),
        kernel_shape=[1, 1],
    )
    return conv, tensors


def replace_nodes(model: "onnx.ModelProto", nodes: "list[onnx.NodeProto]") -> None:
    """Put these nodes, new or of the model, in the place of all; weights nobody reads go."""
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    drop_unused_weights(model)
