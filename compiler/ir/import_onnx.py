"""ONNX → graph: static shapes, constants folded, nothing interpreted yet."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.ir.graph import Graph, Node, Tensor
from edgekiln.runtime.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

# Operators whose control flow or output shape depends on data: no straight list of calls exists.
DYNAMIC = frozenset(
    "If Loop Scan SequenceMap NonZero Unique NonMaxSuppression Compress StringSplit Bernoulli "
    "Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)
# These keep their int8 constants: the lowering wants the integers, not the floats they stand for.
NEVER_FOLDED = frozenset({"DequantizeLinear", "QuantizeLinear"})


def import_onnx(path: Path, batch: int = 1) -> Graph:
    """Read an ONNX model for one fixed batch size.

    Raises:
        InputError: not a valid ONNX model.
        UnsupportedError: control flow, or a shape that is not static once the batch is fixed.
    """
    from edgekiln.compiler.onnx_model.io import load_model

    model = load_model(path)
    _refuse_dynamic(model.graph, path)
    _fix_batch(model.graph, batch, path)
    model = _infer_shapes(model, path)
    graph = _read(model)
    _fold_constants(graph)
    _check_static(graph, path)
    return graph


def node_proto(node: Node) -> "onnx.NodeProto":
    """The ONNX form of a node that is still an ONNX operator."""
    from onnx import helper

    return helper.make_node(
        node.op, list(node.inputs), list(node.outputs), domain=node.domain, **node.attrs
    )


def evaluate(
    nodes: Sequence[Node],
    feeds: "dict[str, NDArray[np.generic]]",
    outputs: Sequence[str],
    opset: int,
) -> "list[NDArray[np.generic]]":
    """Run ONNX nodes on numpy arrays, by the ONNX reference implementation."""
    import numpy as np
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    graph = helper.make_graph(
        [node_proto(node) for node in nodes],
        "part",
        [helper.make_tensor_value_info(name, _onnx_type(a), a.shape) for name, a in feeds.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(d, 1) for d in sorted({n.domain for n in nodes} - {""})]
    # ORT is not used: it has no kernel for some types that appear in shape arithmetic.
    model = helper.make_model(graph, opset_imports=opsets)
    return [np.asarray(out) for out in ReferenceEvaluator(model).run(list(outputs), feeds)]


def _onnx_type(array: "NDArray[np.generic]") -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def _refuse_dynamic(graph: "onnx.GraphProto", path: Path) -> None:
    for node in graph.node:
        if node.op_type in DYNAMIC:
            raise UnsupportedError(
                f"{path}: operator {node.op_type} ({node.output[0]!r}) depends on data",
                "a program is a fixed list of kernel calls; move the operator out of the model",
            )


def _fix_batch(graph: "onnx.GraphProto", batch: int, path: Path) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name in constants:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            if axis:
                raise UnsupportedError(
                    f"{path}: input {value.name!r} has no fixed size on axis {axis}",
                    "export the model with fixed sizes; only the batch may be dynamic",
                )
            dim.dim_value = batch
    for value in graph.output:  # inferred again, with the batch that was fixed
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]


def _infer_shapes(model: "onnx.ModelProto", path: Path) -> "onnx.ModelProto":
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise InputError(
            f"{path}: shapes do not fit: {str(error).splitlines()[0]}",
            "check the model with onnx.checker and onnxruntime",
        ) from error


def _read(model: "onnx.ModelProto") -> Graph:
    from onnx import helper, numpy_helper

    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = []
    for proto in model.graph.node:
        attrs = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        if proto.op_type == "Constant":
            constants[proto.output[0]] = _constant(attrs)
        else:
            domain = "" if proto.domain == "ai.onnx" else proto.domain
            nodes.append(
                Node(
                    op=proto.op_type,
                    inputs=tuple(proto.input),
                    outputs=tuple(proto.output),
                    attrs=attrs,
                    domain=domain,
                )
            )
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    tensors = {v.name: _tensor(v) for v in values if v.name not in constants}
    return Graph(
        inputs=[v.name for v in model.graph.input if v.name not in constants],
        outputs=[v.name for v in model.graph.output],
        nodes=nodes,
        tensors=tensors,
        constants=constants,
        opset=next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1),
    )


def _constant(attrs: dict[str, Any]) -> "NDArray[np.generic]":
    import numpy as np
    from onnx import numpy_helper

    (kind, value), *_ = attrs.items()
    if kind == "value":
        return numpy_helper.to_array(value)
    return np.asarray(value, np.float32 if kind.startswith("value_float") else np.int64)


def _tensor(value: "onnx.ValueInfoProto") -> Tensor:
    from onnx import helper

    kind = value.type.tensor_type
    # 0 marks an unknown extent until constants are folded; _check_static refuses what remains.
    shape = tuple(int(d.dim_value) for d in kind.shape.dim) if kind.HasField("shape") else (0,)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else ""
    return Tensor(name=value.name, shape=shape, dtype=dtype)


def _fold_constants(graph: Graph) -> None:
    """Evaluate every node whose inputs are known: shape arithmetic, mostly."""
    import numpy as np

    kept = []
    for node in graph.nodes:
        source = graph.tensors.get(node.inputs[0]) if node.inputs else None
        if node.op == "Shape" and source is not None and all(source.shape):
            first, last = node.attrs.get("start", 0), node.attrs.get("end")
            graph.constants[node.name] = np.asarray(source.shape[first:last], np.int64)
        elif node.op not in NEVER_FOLDED and all(
            name in graph.constants for name in node.inputs if name
        ):
            feeds = {name: graph.constants[name] for name in node.inputs if name}
            results = evaluate([node], feeds, node.outputs, graph.opset)
            graph.constants.update(zip(node.outputs, results, strict=True))
        else:
            kept.append(node)
            continue
        for name in node.outputs:
            graph.tensors.pop(name, None)
    graph.nodes = kept


def _check_static(graph: Graph, path: Path) -> None:
    for node in graph.nodes:
        for name in node.outputs:
            tensor = graph.tensors.get(name)
            if name and (tensor is None or not tensor.dtype or not all(tensor.shape)):
                raise UnsupportedError(
                    f"{path}: operator {node.op} (tensor {name!r}) has no static shape",
                    "export the model with fixed sizes; only the batch may be dynamic",
                )
