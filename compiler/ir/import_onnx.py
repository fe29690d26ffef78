"""ONNX → graph: static shapes, constants folded, nothing interpreted yet."""

from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.shape_inference import InferenceError

from edgekiln.compiler.ir.graph import Graph, StatePair
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import Onnx, onnx_op
from edgekiln.compiler.ir.reference import node_proto, opsets
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.onnx_model import folding, operators, resize, shape_inference, sizes
from edgekiln.compiler.onnx_model.constant_result import constant_result
from edgekiln.compiler.onnx_model.equivalents import write_in_others
from edgekiln.compiler.onnx_model.guards import guard_integers
from edgekiln.compiler.onnx_model.indices import bound_indices
from edgekiln.compiler.onnx_model.io import load_model, read_meta
from edgekiln.compiler.onnx_model.qdq_form import in_qdq_form
from edgekiln.compiler.onnx_model.recurrent_layers import unroll
from edgekiln.runtime.errors import InputError, UnsupportedError
from edgekiln.runtime.manifest import DTYPES

# It keeps its int8 constant: the lowering wants the integers, not the floats they stand for.
NEVER_FOLDED = "DequantizeLinear"
# Whose values the shape of a result is in, if not in those of all operands behind the first.
_SHAPED_BY = {"ConstantOfShape": (0,), "OneHot": (1,), "Pad": (1, 3), "Range": (0, 1, 2)}


def import_onnx(path: Path, batch: int = 1, loaded: onnx.ModelProto | None = None) -> Graph:
    """Read an ONNX model for one fixed batch size.

    Raises:
        InputError: not a valid ONNX model.
        UnsupportedError: an operator, attribute or operand that no program can be made of, or a
            shape that is not static once the batch is fixed.
    """
    model = onnx.ModelProto()
    # What follows rewrites it in place, and `loaded` is the caller's.
    model.CopyFrom(loaded or load_model(path))
    if not model.graph.input:
        raise UnsupportedError(
            f"{path}: the model has no input: its outputs are always the same",
            "keep them as data; a program computes on what it is given",
        )
    # With the batch all shapes are fixed: what folds and rewrites below has no open extent.
    pairs = read_meta(model).states
    _fix_batch(model.graph, batch, path, {name for name, _ in pairs})
    model = _known_operators(model, str(path))
    operators.check(model, str(path))
    resize.check(model, str(path))
    model = _infer_shapes(model, path)
    sizes.check_sizes(model.graph, str(path))
    graph = _read(model)
    # Before folding, which would have to compute them.
    states = [(name, graph.outputs.index(next_name)) for name, next_name in pairs]
    _drop_unused_outputs(graph)
    _fold_constants(graph, path)
    names = list(graph.outputs)
    _name_outputs(graph, path)
    _check_static(graph, path)
    _check_types(graph, path)
    graph.states = [
        StatePair(name=name, next_name=names[place], input=name, output=graph.outputs[place])
        for name, place in states
    ]
    return graph


def _known_operators(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model in operators that rules or TVM know, whose indices and integers stay inside."""
    model = folding.settle(model)
    while unroll(model) + in_qdq_form(model) + write_in_others(model) + resize.in_products(model):
        _forget_shapes(model.graph)  # ONNX has that of an STFT wrong
        model = folding.settle(model)
    return folding.settle(model) if bound_indices(model, where) + guard_integers(model) else model


def _fix_batch(graph: onnx.GraphProto, batch: int, path: Path, kept: Set[str]) -> None:
    """Fix what is open; `kept` are the inputs that are states, which have the batch anywhere."""
    constants = {tensor.name for tensor in graph.initializer}
    named_batch = {
        value.type.tensor_type.shape.dim[0].dim_param
        for value in graph.input
        if value.type.tensor_type.shape.dim and value.name not in kept
    }
    for value in graph.input:
        if value.name in constants:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            if dim.HasField("dim_value"):
                raise UnsupportedError(
                    f"{path}: input {value.name!r} has no elements: axis {axis} has the extent 0",
                    "take the part out of the model that computes nothing",
                )
            # Only the first axis is the batch: no other may be open, but that of a state.
            in_state = value.name in kept and dim.dim_param in named_batch - {""}
            if axis and not in_state:
                raise UnsupportedError(
                    f"{path}: input {value.name!r} has no fixed size on axis {axis}",
                    "fix it by --shape NAME=SIZE; only the batch may be open",
                )
            dim.dim_value = batch
    _forget_shapes(graph)


def _forget_shapes(graph: onnx.GraphProto) -> None:
    """Shapes of all that is computed go: they are inferred again."""
    given = {value.name: value.type for value in graph.input}
    for weight in graph.initializer:
        dtype, extents = weight.data_type, weight.dims
        given[weight.name] = helper.make_tensor_value_info(weight.name, dtype, extents).type
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
        if value.name in given:  # there is nothing to infer
            value.type.CopyFrom(given[value.name])
    del graph.value_info[:]


def _infer_shapes(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    try:
        return shape_inference.inferred(model, strict=True)
    except InferenceError as error:
        raise InputError(
            f"{path}: shapes do not fit: {str(error).splitlines()[0]}",
            "check the model with onnx.checker and onnxruntime",
        ) from error


def _read(model: onnx.ModelProto) -> Graph:
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
                    op=Onnx(op_type=proto.op_type, domain=domain, attrs=attrs),
                    inputs=tuple(proto.input),
                    outputs=tuple(proto.output),
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


def _constant(attrs: Mapping[str, Any]) -> NDArray[np.generic]:  # as `onnx.helper` reads them
    import numpy as np

    (kind, value), *_ = attrs.items()
    if kind == "value":
        return numpy_helper.to_array(value)
    return np.asarray(value, np.float32 if kind.startswith("value_float") else np.int64)


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    # 0 marks an unknown extent until constants are folded; _check_static refuses what remains.
    shape = tuple(int(d.dim_value) for d in kind.shape.dim) if kind.HasField("shape") else (0,)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else ""
    return Tensor(name=value.name, shape=shape, dtype=dtype)


def _fold_constants(graph: Graph, path: Path) -> None:
    """Evaluate every node whose inputs are known: shape arithmetic, mostly.

    Raises UnsupportedError for one that has no result, such as 2 to the power of -1 in integers.
    """
    kept = []
    for node in graph.nodes:
        source = graph.tensors.get(node.inputs[0]) if node.inputs else None
        op = onnx_op(node)
        if op.op_type == "Shape" and source is not None and all(source.shape):
            last = op.integer("end", len(source.shape))
            shape = source.shape[op.integer("start", 0) : last]
            graph.constants[node.name] = np.asarray(shape, np.int64)
        elif op.op_type != NEVER_FOLDED and all(
            name in graph.constants for name in node.inputs if name
        ):
            feeds = {name: graph.constants[name] for name in node.inputs if name}
            try:
                results = constant_result(node_proto(node), feeds, opsets([node], graph.opset))
            except Exception as error:  # of many classes: what numpy raises
                label = f"{path}: operator {op.op_type} ({node.name!r})"
                raise UnsupportedError(
                    f"{label} has no result for its constants",
                    "check the part of the model that computes it",
                ) from error
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
                label = f"{path}: operator {node.op.kind} ({name!r})"
                places = _SHAPED_BY.get(node.op.kind, range(1, len(node.inputs)))
                operands = [n for place, n in enumerate(node.inputs) if place in places]
                deciding = [repr(n) for n in operands if n and n not in graph.constants]
                if not deciding:
                    raise UnsupportedError(
                        f"{label}: nothing says what shape its result has",
                        "write this part of the model in other operators",
                    )
                raise UnsupportedError(
                    f"{label}: the shape of its result depends on the values of "
                    f"{', '.join(deciding)}",
                    "a program's shapes are fixed: export the model with fixed sizes, so that "
                    "these are constants, or fix them by --shape NAME=SIZE",
                )


def _check_types(graph: Graph, path: Path) -> None:
    """Refuse numbers of less than a byte, and floats of eight bits: only constants may be such."""
    makers = {n: f"operator {node.op.kind}" for node in graph.nodes for n in node.outputs}
    for name in dict.fromkeys((*graph.inputs, *makers)):
        tensor = graph.tensors.get(name)
        if tensor is not None and tensor.dtype not in DTYPES:
            raise UnsupportedError(
                f"{path}: {makers.get(name, 'input')} ({name!r}) is of {tensor.dtype}, which only "
                "weights can be",
                f"let it be of one of {', '.join(DTYPES)}",
            )


def _drop_unused_outputs(graph: Graph) -> None:
    """Forget last results that are optional and that nobody reads, such as Dropout's mask: ONNX
    often knows no type of theirs.
    """
    read = {name for node in graph.nodes for name in node.inputs} | {*graph.outputs}
    nodes = []
    for node in graph.nodes:
        kept = list(node.outputs)
        while len(kept) > 1 and kept[-1] not in read and _is_optional(graph, node, len(kept) - 1):
            graph.tensors.pop(kept.pop(), None)
        nodes.append(replace(node, outputs=tuple(kept)))
    graph.nodes = nodes


def _is_optional(graph: Graph, node: Node, place: int) -> bool:
    op = onnx_op(node)
    if op.domain or not onnx.defs.has(op.op_type):
        return False
    outputs = onnx.defs.get_schema(op.op_type, graph.opset).outputs
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return place < len(outputs) and outputs[place].option == optional


def _name_outputs(graph: Graph, path: Path) -> None:
    """Give each of the program's outputs a writer and a name of its own.

    An input or a constant that is an output, and a value that the model names twice, are copied.
    """
    for place, name in enumerate(graph.outputs):
        if name in graph.constants:
            array = graph.constants.pop(name)
            if not array.size:
                raise UnsupportedError(
                    f"{path}: the model's output {name!r} has no elements",
                    "leave it out of the model's outputs",
                )
            inner = f"{name}:constant"
            graph.constants[inner] = array
            graph.nodes = [node.renamed({name: inner}) for node in graph.nodes]
            graph.put(Tensor(name=name, shape=array.shape, dtype=array.dtype.name))
            _copy(graph, inner, name)
        elif name in graph.inputs or name in graph.outputs[:place]:
            copy = graph.put(replace(graph.tensors[name], name=f"{name}:{place}"))
            _copy(graph, name, copy.name)
            graph.outputs[place] = copy.name


def _copy(graph: Graph, source: str, result: str) -> None:
    graph.nodes.append(Node(op=Onnx(op_type="Identity"), inputs=(source,), outputs=(result,)))
