"""Fallback subgraphs → TensorIR functions, by TVM's own importer and Relax pipeline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import Subgraph
from edgekiln.compiler.ir.program import ArenaBuffer, Arg, Call, Const, Ref
from edgekiln.compiler.ir.reference import domains, node_proto
from edgekiln.compiler.lowering.state import Lowering, spec_of
from edgekiln.runtime.errors import UnsupportedError

_IR_VERSION = 10  # of the subgraph's ONNX form; its operators are those of the model's opset

TvmObject = Any  # TVM ships no types

# What a function reads or writes: a tensor of the graph, a temporary of the subgraph, a constant.
_Operand = str | NDArray[np.generic]


@dataclass(frozen=True, kw_only=True, eq=False)
class _FallbackCall:
    """One function of a subgraph."""

    func: TvmObject  # tvm.tirx.PrimFunc; parameters: inputs, then outputs
    inputs: tuple[_Operand, ...]
    outputs: tuple[str, ...]
    types: tuple[tuple[str, tuple[int, ...]], ...]  # of the outputs: numpy name and shape


def subgraph(low: Lowering, node: Node, op: Subgraph) -> None:
    """TVM's functions, each a call; temporaries are buffers of their own.

    Raises:
        UnsupportedError: TVM's importer or legaliser does not know an operator.
    """
    for call in _functions(low.graph, node, op, low.tvm_target):
        for name, (dtype, shape) in zip(call.outputs, call.types, strict=True):
            # Temporaries between the functions are no tensors of the graph.
            if name not in low.graph.tensors:
                size = prod(shape) * np.dtype(dtype).itemsize
                low.buffers[name] = ArenaBuffer(name=name, bytes=size)
        known = low.graph.tensors.get(call.outputs[-1])
        low.calls.append(
            Call(
                name=call.outputs[-1],
                op=op.kind,
                code=Code.of(call.func),
                args=tuple(_argument(low, each) for each in (*call.inputs, *call.outputs)),
                writes=len(call.outputs),
                integer=False,
                reason=node.reason,
                output=spec_of(known) if known else None,
            )
        )


def _argument(low: Lowering, operand: _Operand) -> Arg:
    if not isinstance(operand, str):
        return Const(array=operand)
    return Ref(buffer=operand) if operand in low.buffers else low.place(operand)


def _functions(
    graph: Graph, node: Node, op: Subgraph, tvm_target: Mapping[str, object]
) -> list[_FallbackCall]:
    """Legalise and fuse a subgraph's operators."""
    import tvm
    from tvm.relax.backend.cpu_generic import pipeline
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.target import Target

    target = Target(dict(tvm_target))
    try:
        module = from_onnx(_model(graph, node, op), keep_params_in_input=False)
        # Relax's own list up to its functions; memory is planned with the other kernels' here.
        passes = [*pipeline.library_dispatch_passes(target), *pipeline.legalize_passes(target)]
        with target, tvm.transform.PassContext(opt_level=3):
            module = tvm.transform.Sequential(passes)(module)
    except Exception as error:  # TVM raises whatever its layers raise
        kinds = sorted({inner.op.kind for inner in op.nodes})
        raise UnsupportedError(
            f"float operators {', '.join(kinds)} cannot be compiled: {_first_line(error)}",
            "replace the operator in the model, or quantize the part that uses it",
        ) from error
    calls = _calls(module, node)
    _check_types(graph, node, calls)
    return calls


def _check_types(graph: Graph, node: Node, calls: Iterable[_FallbackCall]) -> None:
    """TVM makes what the graph says, or would write over other memory."""
    for call in calls:
        for name, (dtype, shape) in zip(call.outputs, call.types, strict=True):
            tensor = graph.tensors.get(name)
            if tensor is not None and (dtype, shape) != (tensor.dtype, tensor.shape):
                raise UnsupportedError(
                    f"{node.reason}; TVM makes {dtype}{list(shape)} of {name!r}, which is "
                    f"{tensor.dtype}{list(tensor.shape)}",
                    "replace the operator in the model",
                )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _model(graph: Graph, node: Node, op: Subgraph) -> onnx.ModelProto:
    def info(name: str) -> onnx.ValueInfoProto:
        tensor = graph.tensors[name]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return helper.make_tensor_value_info(_plain(name), kind, tensor.shape)

    protos = [_renamed(node_proto(inner)) for inner in op.nodes]
    used = dict.fromkeys(name for inner in op.nodes for name in inner.inputs)
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(graph.constants[name]), _plain(name))
        for name in used
        if name in graph.constants
    ]
    return helper.make_model(
        helper.make_graph(
            protos,
            "fallback",
            [info(name) for name in node.inputs],
            [info(name) for name in node.outputs],
            constants,
        ),
        opset_imports=[
            helper.make_opsetid("", graph.opset),
            *(helper.make_opsetid(domain, 1) for domain in domains(op.nodes)),
        ],
        ir_version=_IR_VERSION,
    )


def _renamed(proto: onnx.NodeProto) -> onnx.NodeProto:
    proto.input[:] = [_plain(name) for name in proto.input]
    proto.output[:] = [_plain(name) for name in proto.output]
    return proto


def _plain(name: str) -> str:
    """The importer renames what is no identifier, and then may not find it again."""
    return "".join(c if c.isalnum() else f"_{ord(c)}_" for c in f"t_{name}") if name else name


def _calls(module: TvmObject, node: Node) -> list[_FallbackCall]:
    """Flatten `main`, which is a straight list of `call_tir` after legalisation."""
    from tvm import relax

    main = module["main"]
    env: dict[TvmObject, TvmObject] = dict(zip(main.params, node.inputs, strict=True))

    def resolve(expr: TvmObject) -> TvmObject:
        if isinstance(expr, relax.Var):
            return env[expr]
        if isinstance(expr, relax.Tuple):
            return tuple(resolve(field) for field in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            return resolve(expr.tuple_value)[int(expr.index)]
        return expr.value.numpy()  # a constant

    calls: list[_FallbackCall] = []
    for block in main.body.blocks:
        for binding in block.bindings:
            value = binding.value
            if not isinstance(value, relax.Call):
                env[binding.var] = resolve(value)
                continue
            # Releases of TVM differ in the name.
            types = value.ty_args[0] if hasattr(value, "ty_args") else value.sinfo_args[0]
            fields = list(getattr(types, "fields", [types]))
            names = tuple(f"{node.name}:float{len(calls)}.{i}" for i in range(len(fields)))
            # Several results come as a tuple, whose items later bindings take apart.
            env[binding.var] = names if hasattr(types, "fields") else names[0]
            calls.append(
                _FallbackCall(
                    func=module[value.args[0]],
                    inputs=resolve(value.args[1]),
                    outputs=names,
                    types=tuple(_type(kind) for kind in fields),
                )
            )
    results = resolve(main.body.body)
    return _named(calls, results if isinstance(results, tuple) else (results,), node)


def _named(
    calls: Sequence[_FallbackCall], results: tuple[_Operand, ...], node: Node
) -> list[_FallbackCall]:
    """The calls with the graph's own names for what the subgraph makes."""
    made = {name for call in calls for name in call.outputs}
    if len(results) != len(node.outputs):
        raise UnsupportedError(
            f"{node.reason}; TVM makes {len(results)} of its results, the model uses "
            f"{', '.join(node.outputs)}",
            "leave the other results out of the model, or replace the operator",
        )
    final = {
        result: output
        for result, output in zip(results, node.outputs, strict=True)
        if isinstance(result, str) and result in made
    }
    if len(final) < len(node.outputs):
        raise UnsupportedError(
            f"{node.reason}; TVM makes no value of its own for each of {', '.join(node.outputs)}",
            "leave results that are equal, constant or not known to TVM out of the model",
        )
    return [
        replace(
            call,
            inputs=tuple(final.get(a, a) if isinstance(a, str) else a for a in call.inputs),
            outputs=tuple(final.get(name, name) for name in call.outputs),
        )
        for call in calls
    ]


def _type(kind: TvmObject) -> tuple[str, tuple[int, ...]]:
    return str(kind.dtype), tuple(int(extent) for extent in kind.shape.values)
