"""Shape inference and constant folding, in turn, until neither finds anything new."""

import math
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import control_flow, operators, rewriting, validate

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray


# Results larger than their operands, by as much as the values of these say.
_GROWING = frozenset("ConstantOfShape Expand OneHot Pad Range Resize Tile Upsample".split())


def settle(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model with every computable tensor computed and every inferable shape inferred.

    A folded shape makes shapes behind it static, and a static shape makes more of the arithmetic
    computable: computed Resize sizes, `view(x.size(0), -1)`, weights from ConstantOfShape. Integers
    behind DequantizeLinear stay integers. Results larger than the loader's limit stay operators.
    """
    # What a round could not yet infer it has declared to be open: the next one begins afresh.
    known = [*map(_copied, model.graph.value_info)]
    outputs = [*map(_copied, model.graph.output)]
    while True:
        model = rewriting.with_shapes(model)
        if not fold(model):
            return model
        model.graph.ClearField("value_info")
        model.graph.value_info.extend(known)
        model.graph.ClearField("output")
        model.graph.output.extend(outputs)


def _copied(value: "onnx.ValueInfoProto") -> "onnx.ValueInfoProto":
    copy = type(value)()
    copy.CopyFrom(value)
    return copy


def unfold(model: "onnx.ModelProto") -> int:
    """Put, in place, what If and Loop run, where their course is constant or can be computed; how
    many went.
    """
    count = 0
    while True:
        settled = settle(model)
        gone = control_flow.inline(settled)
        if not gone:
            return count
        count += gone
        model.CopyFrom(settled)


def fold(model: "onnx.ModelProto") -> int:
    """Compute, in place, every node whose operands are constant, and the Shape of what is static.

    Returns:
        How many nodes went.
    """
    import onnx

    graph = model.graph
    shapes = _static_shapes(graph)
    constants = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}
    kept, made = [], []
    for node in graph.node:
        results = _computed(node, constants, shapes, model)
        if results is None:
            kept.append(node)
            continue
        for name, value in zip(node.output, results, strict=True):
            if name:
                constants[name] = value
                made.append(onnx.numpy_helper.from_array(value, name))
    count = len(graph.node) - len(kept)
    if count:
        nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(made)
    return count


def _static_shapes(graph: "onnx.GraphProto") -> dict[str, tuple[int, ...]]:
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            found[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return found


def _computed(
    node: "onnx.NodeProto",
    constants: "dict[str, NDArray[np.generic]]",
    shapes: dict[str, tuple[int, ...]],
    model: "onnx.ModelProto",
) -> "list[NDArray[np.generic]] | None":
    """A node's results; None when they depend on data, or would be too large to keep."""
    row = operators.of(node)
    if row is None or row.role in ("integer", "refused"):
        return None
    if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
        return [_of_shape(node, shapes[node.input[0]])]
    small = all(math.prod(shapes.get(out, ())) <= validate.max_elements() for out in node.output)
    # How much comes of these, the next round of shape inference says.
    small &= node.op_type not in _GROWING or all(out in shapes for out in node.output)
    if small and all(name in constants for name in node.input if name):
        return _evaluated(node, constants, model)
    return None


def _of_shape(node: "onnx.NodeProto", shape: tuple[int, ...]) -> "NDArray[np.generic]":
    import numpy as np

    if node.op_type == "Size":
        return np.asarray(math.prod(shape), np.int64)
    given = operators.attributes(node)
    return np.asarray(shape[given.get("start", 0) : given.get("end")], np.int64)


def _evaluated(
    node: "onnx.NodeProto", constants: "dict[str, NDArray[np.generic]]", model: "onnx.ModelProto"
) -> "list[NDArray[np.generic]] | None":
    """Computed by ONNX's reference: ONNX Runtime has no kernel for some types of shape
    arithmetic.
    """
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    info = onnx.helper.make_empty_tensor_value_info
    names = dict.fromkeys(name for name in node.input if name)
    results = [info(name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "part", [info(name) for name in names], results)
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    try:
        found = iter(ReferenceEvaluator(part).run(None, {name: constants[name] for name in names}))
    except Exception:  # of many classes: what numpy raises for what the operator forbids
        return None  # whoever compiles the operator says what is wrong with it
    return [np.asarray(next(found)) if name else np.zeros(0) for name in node.output]
