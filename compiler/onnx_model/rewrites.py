"""Rewrites of float ONNX graphs that make every operation one the quantizer knows."""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, replace_nodes, rewrite

if TYPE_CHECKING:
    import onnx


# No activation is this low: a padding with it wins no maximum.
_BELOW_ALL = -1e30


def pool_from_reduce_mean(model: "onnx.ModelProto") -> int:
    """Rewrite the mean over height and width of an NCHW tensor to GlobalAveragePool (+ Flatten).

    The quantizer skips ReduceMean, and every target has a pooling kernel. Left alone: other axes,
    other ranks, axes that are no constant.

    Returns:
        How many were rewritten.
    """

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        if node.op_type != "ReduceMean" or len(facts.shapes.get(node.input[0], ())) != 4:
            return None
        return _pooling(node) if _reduced_axes(facts, node) == {2, 3} else None

    return rewrite(model, rule)


def add_from_sub(model: "onnx.ModelProto") -> int:
    """Rewrite a − b to a + (−b): additions have an integer kernel, and −b is a lookup table.

    Left alone: one activation and a number, which is a table as it stands, and what is not float32.

    Returns:
        How many were rewritten.
    """
    import onnx

    make = onnx.helper.make_node

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        if node.op_type != "Sub" or node.output[0] not in facts.floats:
            return None
        left, right = facts.constant(node, 0), facts.constant(node, 1)
        if any(value is not None and value.size == 1 for value in (left, right)):
            return None
        a, b = node.input
        if right is not None:
            # Exact: the opposite of a float is another sign bit.
            negative = facts.add(f"{node.output[0]}.negative", -right)
            return [make("Add", [a, negative], node.output, name=node.name)]
        negative = facts.free(f"{node.output[0]}.negative")
        negate = make("Neg", [b], [negative], name=negative)
        return [negate, make("Add", [a, negative], node.output, name=node.name)]

    return rewrite(model, rule)


def mul_from_swish(model: "onnx.ModelProto") -> int:
    """Rewrite Swish(x) = x · sigmoid(α x) to the operators that it abbreviates.

    Returns:
        How many were rewritten.
    """
    import numpy as np
    import onnx

    make = onnx.helper.make_node

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        if node.op_type != "Swish":
            return None
        (x,), (y,) = node.input, node.output
        nodes = []
        argument, gate = x, facts.free(f"{y}.gate")
        alpha = operators.attributes(node).get("alpha", 1.0)
        if alpha != 1.0:
            argument = facts.free(f"{y}.argument")
            factor = facts.add(f"{y}.alpha", np.array(alpha, np.float32))
            nodes.append(make("Mul", [x, factor], [argument], name=argument))
        return [
            *nodes,
            make("Sigmoid", [argument], [gate], name=gate),
            make("Mul", [x, gate], [y], name=node.name),
        ]

    return rewrite(model, rule)


def max_pool_takes_padding(model: "onnx.ModelProto") -> int:
    """Rewrite Pad → MaxPool to the MaxPool's own padding, where no padded value can be a maximum.

    The padding's constant would stretch the range of the padded tensor, up to where nothing else
    is told apart. Left alone: constants that an activation may be below, a Pad with other readers,
    and windows that the padding fills alone.

    Returns:
        How many were rewritten.
    """
    import onnx

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        pad = facts.makers.get(node.input[0]) if node.op_type == "MaxPool" else None
        if pad is None or pad.op_type != "Pad" or facts.alone(pad.output[0]) is None:
            return None
        if any(node.output[1:]):  # where the maxima are, counted with the padding
            return None
        amounts = _low_padding(facts, pad)
        window = operators.attributes(node)
        kernel = window.pop("kernel_shape")
        plain = not window.get("ceil_mode") and window.get("auto_pad", "NOTSET") == "NOTSET"
        dilated = any(d != 1 for d in window.get("dilations", ()))
        axes = len(kernel)
        if not plain or dilated or amounts is None or len(amounts) != 2 * (axes + 2):
            return None
        # Amounts of (N, C, H, W) at the beginning, then at the end; a pool's begin with H.
        before, after = amounts[: axes + 2], amounts[axes + 2 :]
        more = [*before[2:], *after[2:]]
        pads = [a + b for a, b in zip(window.pop("pads", [0] * 2 * axes), more, strict=True)]
        # Neither samples nor channels may be padded, and every window needs a value of the picture.
        if any((*before[:2], *after[:2])) or any(
            not 0 <= amount < kernel[i % axes] for i, amount in enumerate(pads)
        ):
            return None
        pool = onnx.helper.make_node(
            "MaxPool", [pad.input[0]], node.output, name=node.name, kernel_shape=kernel, pads=pads,
            **window,
        )  # fmt: skip
        return [pool]

    count = rewrite(model, rule)
    if count:
        drop_unread(model)
    return count


def own_weights(model: "onnx.ModelProto") -> int:
    """Give each reader of a constant that is quantized in another way a copy of its own.

    The quantizer stores one form a constant: per channel along one axis, or per tensor.

    Returns:
        How many copies were made.
    """
    made = 0
    # Constant → form → the name of the copy that has it; the first form keeps the constant's own
    # name.
    forms: dict[str, dict[int | str, str]] = {}

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        nonlocal made
        names = list(node.input)
        for place, name in enumerate(names):
            if name not in facts.constants or name not in facts.floats:
                continue
            form = _form(node, place)
            known = forms.setdefault(name, {form: name})
            if form not in known:
                known[form] = facts.add(name, facts.constants[name])
                made += 1
            names[place] = known[form]
        if names == list(node.input):
            return None
        copy = type(node)()
        copy.CopyFrom(node)
        copy.input[:] = names
        return [copy]

    rewrite(model, rule)
    return made


def batch_norms_after_conv(model: "onnx.ModelProto") -> list[str]:
    """Names of BatchNormalization nodes that directly follow a convolution: not folded."""
    convs = {out for n in model.graph.node if n.op_type == "Conv" for out in n.output}
    return [
        node.name or node.output[0]
        for node in model.graph.node
        if node.op_type == "BatchNormalization" and node.input[0] in convs
    ]


def _form(node: "onnx.NodeProto", place: int) -> int | str:
    """How the quantizer stores a node's constant operand: the axis of its scales, or in words.

    Each bias has a scale of its own, its sums'.
    """
    axis = operators.channel_axis(node)
    if axis is None:
        return "one scale"
    if place == 1:
        return axis
    return f"bias of {node.output[0]}" if place == 2 else "one scale"


def _reduced_axes(facts: ModelFacts, node: "onnx.NodeProto") -> set[int]:
    """Axes of a ReduceMean over a rank-4 tensor, as 0…3; empty when they are no constant."""
    axes = operators.attributes(node).get("axes", [])  # before opset 18
    constant = facts.constant(node, 1)
    if constant is not None:
        axes = constant.tolist()
    return {axis % 4 for axis in axes}


def _pooling(node: "onnx.NodeProto") -> "list[onnx.NodeProto]":
    import onnx

    keeps = operators.attributes(node).get("keepdims", 1)
    data, result = node.input[0], node.output[0]
    pooled = result if keeps else f"{result}_pooled"
    nodes = [onnx.helper.make_node("GlobalAveragePool", [data], [pooled], name=node.name)]
    if not keeps:
        name = f"{node.name}_flatten" if node.name else ""
        nodes.append(onnx.helper.make_node("Flatten", [pooled], [result], name=name, axis=1))
    for made in nodes:
        # In it is the module's name, after which `names` calls the node.
        made.metadata_props.extend(node.metadata_props)
    return nodes


def _low_padding(facts: ModelFacts, pad: "onnx.NodeProto") -> list[int] | None:
    """A Pad's amounts, begin then end, if its constant is below whatever it pads."""
    attributes = operators.attributes(pad)
    amounts, value = facts.constant(pad, 1), facts.constant(pad, 2)
    constant = attributes.get("mode", "constant") == "constant"
    if not constant or amounts is None or value is None or any(pad.input[3:]):
        return None
    maker = facts.makers.get(pad.input[0])
    lowest = 0.0 if maker is not None and maker.op_type == "Relu" else _BELOW_ALL
    low = float(value.reshape(-1)[0])
    return list(amounts.tolist()) if low < 0 and low <= lowest else None


def drop_unread(model: "onnx.ModelProto") -> None:
    """Remove the nodes whose results nobody reads any more."""
    needed = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            kept.append(node)
    replace_nodes(model, kept[::-1])
