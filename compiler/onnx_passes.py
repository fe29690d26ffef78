"""Rewrites of float ONNX graphs that make every operation one the quantizer knows."""

from typing import TYPE_CHECKING

from edgekiln.compiler import onnx_meta

if TYPE_CHECKING:
    import onnx


def pool_from_reduce_mean(model: "onnx.ModelProto") -> int:
    """Rewrite the mean over height and width of an NCHW tensor to GlobalAveragePool (+ Flatten).

    The quantizer skips ReduceMean, and every target has a pooling kernel. Left alone: other axes,
    other ranks, axes that are no constant.

    Returns:
        How many were rewritten.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(onnx_meta.extents(value))
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    nodes: list[onnx.NodeProto] = []
    rewritten = 0
    for node in model.graph.node:
        image = ranks.get(node.input[0]) == 4 if node.input else False
        if image and node.op_type == "ReduceMean" and _reduced_axes(model, node) == {2, 3}:
            nodes += _pooling(node)
            rewritten += 1
        else:
            nodes.append(node)
    _replace_nodes(model, nodes)
    return rewritten


def batch_norms_after_conv(model: "onnx.ModelProto") -> list[str]:
    """Names of BatchNormalization nodes that directly follow a convolution: not folded."""
    convs = {out for n in model.graph.node if n.op_type == "Conv" for out in n.output}
    return [
        node.name or node.output[0]
        for node in model.graph.node
        if node.op_type == "BatchNormalization" and node.input[0] in convs
    ]


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


def _replace_nodes(model: "onnx.ModelProto", nodes: "list[onnx.NodeProto]") -> None:
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    drop_unused_weights(model)
