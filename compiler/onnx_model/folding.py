"""Shape inference and constant folding, in turn, until neither finds anything new."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from edgekiln.compiler.onnx_model import control_flow, operators, rewriting, sizes
from edgekiln.compiler.onnx_model.constant_result import constant_result

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray


_Extent = TypeVar("_Extent", int, int | None)
_TAKING = ("Gather", "Slice")  # elements, and compute nothing
# Results larger than their operands, by as much as the values of these say.
_GROWING = frozenset("ConstantOfShape Expand OneHot Pad Range Resize Tile Upsample".split())


def settle(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model with every computable tensor computed and every inferable shape inferred.

    A folded shape makes shapes behind it static, and a static shape makes more of the arithmetic
    computable: computed Resize sizes, `view(x.size(0), -1)`, weights from ConstantOfShape. Integers
    behind DequantizeLinear stay integers. Results larger than the loader's limit stay operators.
    """
    # It ends: what is computed is gone, and what comes out of a loop is nested less deep than it
    # was.
    while True:
        model = rewriting.with_shapes(model)
        if not fold(model):
            return model


def fold(model: "onnx.ModelProto") -> int:
    """Compute, in place, every node whose operands are constant, and what follows from the shape
    of its operand alone; control flow that does not depend on data becomes plain operators.

    Returns:
        How many nodes went.
    """
    import onnx

    graph = model.graph
    extents = _extents(graph)
    shapes = {
        name: tuple(extent for extent in known if extent is not None)
        for name, known in extents.items()
        if None not in known
    }
    # Of shapes that are open in part: what Shape gives, and what takes of it what is not.
    parts: dict[str, tuple[int | None, ...]] = {}
    constants = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    kept, made, count = [], [], 0
    for node in graph.node:
        instead = control_flow.unrolled(node, constants, shapes, opset)
        if instead is not None:
            kept += instead.nodes
            made += instead.weights
            count += 1
            continue
        results = _computed(node, constants, shapes, model)
        if results is None:
            results = _of_parts(node, extents, parts, constants, model)
        if results is None:
            kept.append(node)
            continue
        count += 1
        for name, value in zip(node.output, results, strict=True):
            if name:
                constants[name] = value
                made.append(onnx.numpy_helper.from_array(value, name))
    if count:
        nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(made)
        # What is said of a tensor that is a constant now would keep ONNX from looking further.
        names = {name for node in nodes for name in node.output}
        known = [value for value in graph.value_info if value.name in names]
        del graph.value_info[:]
        graph.value_info.extend(known)
    return count


def _extents(graph: "onnx.GraphProto") -> dict[str, tuple[int | None, ...]]:
    """The shapes of tensors whose number of axes is known; None for an open extent."""
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = tuple(
                d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim
            )
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
    # EyeLike reads the shape and the type of its operand, and none of its values.
    if node.op_type == "EyeLike" and node.input[0] in shapes and node.input[0] not in constants:
        constants = constants | {node.input[0]: _like(model.graph, node.input[0])}
    small = all(math.prod(shapes.get(out, ())) <= sizes.max_elements() for out in node.output)
    # How much comes of these, the next round of shape inference says.
    small &= node.op_type not in _GROWING or all(out in shapes for out in node.output)
    if small and all(name in constants for name in node.input if name):
        return _evaluated(node, constants, model)
    return None


def _of_shape(node: "onnx.NodeProto", shape: tuple[int, ...]) -> "NDArray[np.generic]":
    import numpy as np

    if node.op_type == "Size":
        return np.asarray(math.prod(shape), np.int64)
    return np.asarray(_cut(node, shape), np.int64)


def _cut(node: "onnx.NodeProto", extents: tuple[_Extent, ...]) -> tuple[_Extent, ...]:
    """The extents that a Shape gives."""
    given = operators.attributes(node)
    # Shape-15 clamps its bounds, and counts negative ones from the end, as Python's slices do.
    return extents[given.get("start", 0) : given.get("end")]


def _of_parts(
    node: "onnx.NodeProto",
    extents: Mapping[str, tuple[int | None, ...]],
    parts: dict[str, tuple[int | None, ...]],
    constants: "dict[str, NDArray[np.generic]]",
    model: "onnx.ModelProto",
) -> "list[NDArray[np.generic]] | None":
    """What a node takes of a shape that is open in part; None where some of that is open.

    Args:
        parts: by the tensors that hold them; what the node gives is added.
    """
    import numpy as np

    if node.op_type == "Shape" and node.input[0] in extents:
        parts[node.output[0]] = _cut(node, extents[node.input[0]])
    known = parts.get(node.input[0]) if node.op_type in _TAKING else None
    if known is None or not all(name in constants for name in node.input[1:] if name):
        return None
    # Whatever it takes, by the places of that.
    places = {node.input[0]: np.arange(len(known), dtype=np.int64)}
    found = _evaluated(node, {**constants, **places}, model)
    if found is None:
        return None
    taken = tuple(known[int(place)] for place in found[0].reshape(-1))
    if None not in taken:
        return [np.array(taken, np.int64).reshape(found[0].shape)]
    if found[0].ndim == 1:
        parts[node.output[0]] = taken
    return None


def _like(graph: "onnx.GraphProto", name: str) -> "NDArray[np.generic]":
    """Zeros of a tensor's type and shape, which are known."""
    import numpy as np
    import onnx

    (value,) = (v for v in (*graph.input, *graph.value_info, *graph.output) if v.name == name)
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return np.zeros([d.dim_value for d in kind.shape.dim], dtype)


def _evaluated(
    node: "onnx.NodeProto", constants: "dict[str, NDArray[np.generic]]", model: "onnx.ModelProto"
) -> "list[NDArray[np.generic]] | None":
    import numpy as np

    names = dict.fromkeys(name for name in node.input if name)
    feeds = {name: constants[name] for name in names}
    try:
        found = iter(constant_result(node, feeds, model.opset_import))
    except Exception:  # of many classes: what numpy raises for what the operator forbids
        return None  # whoever compiles the operator says what is wrong with it
    return [np.asarray(next(found)) if name else np.zeros(0) for name in node.output]
