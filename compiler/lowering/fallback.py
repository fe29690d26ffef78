"""Fallback subgraphs → TensorIR functions, by TVM's own importer and Relax pipeline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import Subgraph, onnx_op
from edgekiln.compiler.ir.program import ArenaBuffer, Arg, Call, Const, Ref
from edgekiln.compiler.ir.reference import domains, node_proto
from edgekiln.compiler.lowering.native_words import without_warnings
from edgekiln.compiler.lowering.reductions import TvmObject, begun_right
from edgekiln.compiler.lowering.spelled_out import spelled_out
from edgekiln.compiler.lowering.state import Lowering, spec_of
from edgekiln.compiler.lowering.tvm_target import target_of
from edgekiln.runtime.errors import UnsupportedError

_IR_VERSION = 10  # of the subgraph's ONNX form; its operators are those of the model's opset

# What a function reads or writes: a tensor of the graph, a temporary of the subgraph, a constant.
_Operand = str | NDArray[np.generic]
_Type = tuple[str, tuple[int, ...]]  # numpy's name of it, and a shape


@dataclass(frozen=True, kw_only=True, eq=False)
class _FallbackCall:
    """One function of a subgraph."""

    func: TvmObject  # tvm.tirx.PrimFunc; parameters: inputs, then outputs
    inputs: tuple[_Operand, ...]
    outputs: tuple[str, ...]
    types: tuple[_Type, ...]  # of the outputs


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
    try:
        module = _lowered(_model(graph, node, op), tvm_target)
    except Exception as error:  # TVM raises whatever its layers raise
        raise _refusal(_culprit(graph, op, tvm_target), graph) from error
    calls = _calls(graph, module, node, op)
    _check_types(graph, op, calls)
    return calls


def _lowered(model: onnx.ModelProto, tvm_target: Mapping[str, object]) -> TvmObject:
    """TVM's module of functions for an ONNX model. It raises whatever its layers raise."""
    import tvm
    from tvm.relax.backend.cpu_generic import pipeline
    from tvm.relax.frontend.onnx import from_onnx

    target = target_of(tvm_target)
    # Relax's own list up to its functions; memory is planned with the other kernels' here.
    passes = [*pipeline.library_dispatch_passes(target), *pipeline.legalize_passes(target)]
    with without_warnings(), target, tvm.transform.PassContext(opt_level=3):
        return tvm.transform.Sequential(passes)(from_onnx(model, keep_params_in_input=False))


def _culprit(graph: Graph, op: Subgraph, tvm_target: Mapping[str, object]) -> Node:
    """The first operator of a subgraph that cannot be lowered by itself; else the last one."""
    for inner in op.nodes:
        inputs = dict.fromkeys(name for name in inner.inputs if name in graph.tensors)
        outputs = tuple(name for name in inner.outputs if name)
        alone = Node(op=Subgraph(nodes=(inner,)), inputs=tuple(inputs), outputs=outputs)
        try:
            _lowered(_model(graph, alone, Subgraph(nodes=(inner,))), tvm_target)
        except Exception:  # the first error said what there is to say
            return inner
    return op.nodes[-1]


def _refusal(node: Node, graph: Graph, what: str = "") -> UnsupportedError:
    """The error that names an operator, what it reads, and its attributes."""
    op = onnx_op(node)
    operands = [_described(graph, name) for name in node.inputs if name]
    values = [
        f"{name} = {value.decode(errors='replace') if isinstance(value, bytes) else value}"
        for name, value in op.attrs.items()
        if isinstance(value, (int, float, bytes, list))
    ]
    given = f" with {', '.join(values)}" if values else ""
    given += "".join(f", with the result {name!r}, too," for name in node.outputs[1:] if name)
    computed = [name for name in node.inputs[1:] if name and name not in graph.constants]
    instead = f"make constants of {', '.join(computed)}, or " if computed else ""
    return UnsupportedError(
        f"operator {op.kind} ({node.name!r}) of {', '.join(operands) or 'no operand'}{given} is "
        f"not supported{what}",
        f"{instead}write this part of the model in other operators, or take it out: "
        "docs/operators.md lists what is supported",
    )


def _described(graph: Graph, name: str) -> str:
    constant = graph.constants.get(name)
    if constant is not None:
        return f"a constant {constant.dtype}{list(constant.shape)}"
    tensor = graph.tensors[name]
    return f"{tensor.dtype}{list(tensor.shape)} ({name!r})"


def _check_types(graph: Graph, op: Subgraph, calls: Iterable[_FallbackCall]) -> None:
    """TVM makes what the graph says, or would write over other memory."""
    for call in calls:
        for name, (dtype, shape) in zip(call.outputs, call.types, strict=True):
            tensor = graph.tensors.get(name)
            if tensor is not None and (dtype, shape) != (tensor.dtype, tensor.shape):
                right = f"{tensor.dtype}{list(tensor.shape)}"
                what = f": {name!r} would be {dtype}{list(shape)}, not {right}"
                raise _refusal(_maker(op, name), graph, what)


def _maker(op: Subgraph, name: str) -> Node:
    return next(node for node in op.nodes if name in node.outputs)


def _model(graph: Graph, node: Node, op: Subgraph) -> onnx.ModelProto:
    def info(name: str) -> onnx.ValueInfoProto:
        tensor = graph.tensors[name]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return helper.make_tensor_value_info(_plain(name), kind, tensor.shape)

    used = dict.fromkeys(name for inner in op.nodes for name in inner.inputs)
    numbers = {name: graph.constants[name] for name in used if name in graph.constants}
    protos = [
        _renamed(proto)
        for inner in op.nodes
        for proto in spelled_out(graph, node_proto(inner), numbers)
    ]
    constants = [
        numpy_helper.from_array(np.asarray(number, order="C"), _plain(name))
        for name, number in numbers.items()
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


def _calls(graph: Graph, module: TvmObject, node: Node, op: Subgraph) -> list[_FallbackCall]:
    """Flatten `main`, which is a straight list of `call_tir` after legalisation."""
    from tvm import relax

    main = module["main"]
    # Relax variable → the name of a tensor, a tuple of names, or the value of a constant.
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
                    func=begun_right(module[value.args[0]]),
                    inputs=resolve(value.args[1]),
                    outputs=names,
                    types=tuple(_type(kind) for kind in fields),
                )
            )
    results = resolve(main.body.body)
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(node.outputs):
        missing = _maker(op, node.outputs[-1])
        raise _refusal(missing, graph, ": not all of its results are computed")
    return _named(graph, calls, dict(zip(node.outputs, results, strict=True)))


def _named(
    graph: Graph, calls: Sequence[_FallbackCall], results: Mapping[str, _Operand]
) -> list[_FallbackCall]:
    """The calls with the graph's own names for what the subgraph makes.

    A result that is an operand of the subgraph, a constant, or another result too, is a copy.
    """
    types = {
        name: kind for call in calls for name, kind in zip(call.outputs, call.types, strict=True)
    }
    final: dict[str, str] = {}  # the graph's name of what a call makes
    copied: dict[str, _Operand] = {}
    for output, result in results.items():
        # What a call makes gets the graph's name in place of its own, once.
        if isinstance(result, str) and result in types and result not in final:
            final[result] = output
        else:
            copied[output] = result
    named = [
        replace(
            call,
            inputs=tuple(final.get(a, a) if isinstance(a, str) else a for a in call.inputs),
            outputs=tuple(final.get(name, name) for name in call.outputs),
        )
        for call in calls
    ]
    return [*named, *(_copy(graph, out, source, final, types) for out, source in copied.items())]


def _copy(
    graph: Graph,
    output: str,
    source: _Operand,
    final: Mapping[str, str],
    types: Mapping[str, _Type],
) -> _FallbackCall:
    """A call that copies an operand, a constant, or what another call makes."""
    from tvm import te

    if not isinstance(source, str):
        kind = (source.dtype.name, source.shape)
    elif source in types:
        kind, source = types[source], final[source]
    else:
        kind = (graph.tensors[source].dtype, graph.tensors[source].shape)
    values = te.placeholder((prod(kind[1]),), kind[0], name="source")
    copy = te.compute(values.shape, lambda i: values[i], name="copy")
    func = te.create_prim_func([values, copy])
    return _FallbackCall(func=func, inputs=(source,), outputs=(output,), types=(kind,))


def _type(kind: TvmObject) -> _Type:
    return str(kind.dtype), tuple(int(extent) for extent in kind.shape.values)
