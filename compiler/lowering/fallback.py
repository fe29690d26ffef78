"""Islands of float operators → TensorIR functions, by TVM's own importer and Relax pipeline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.ir.graph import Graph, Node
from edgekiln.compiler.ir.import_onnx import node_proto
from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.program import Arg, Buffer, Call, Const, Ref
from edgekiln.compiler.lowering.state import Lowering, spec_of
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_IR_VERSION = 10  # of the island's ONNX form; its operators are those of the model's opset


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatCall:
    """One function of an island. Names are tensors of the graph or temporaries of the island."""

    func: Any  # tvm.tirx.PrimFunc; parameters: inputs, then outputs
    inputs: "tuple[str | NDArray[np.generic], ...]"
    outputs: tuple[str, ...]
    output_bytes: tuple[int, ...]


def lower_island(graph: Graph, island: Node, tvm_target: Mapping[str, Any]) -> list[FloatCall]:
    """Legalise and fuse an island's operators.

    Raises:
        UnsupportedError: TVM's importer or legaliser does not know an operator.
    """
    import tvm
    from tvm.relax.backend.cpu_generic import pipeline
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.target import Target

    target = Target(dict(tvm_target))
    ops = sorted({node.op for node in island.attrs["nodes"]})
    try:
        module = from_onnx(_model(graph, island), keep_params_in_input=False)
        passes = [*pipeline.library_dispatch_passes(target), *pipeline.legalize_passes(target)]
        with target, tvm.transform.PassContext(opt_level=3):
            module = tvm.transform.Sequential(passes)(module)
    except Exception as error:  # TVM raises whatever its layers raise
        raise UnsupportedError(
            f"float operators {', '.join(ops)} cannot be compiled: {_first_line(error)}",
            "replace the operator in the model, or quantize the part that uses it",
        ) from error
    return _calls(module, island)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _model(graph: Graph, island: Node) -> "onnx.ModelProto":
    import numpy as np
    from onnx import helper, numpy_helper

    def info(name: str) -> "onnx.ValueInfoProto":
        tensor = graph.tensors[name]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return helper.make_tensor_value_info(_plain(name), kind, tensor.shape)

    nodes = []
    for node in island.attrs["nodes"]:
        proto = node_proto(node)
        proto.input[:] = [_plain(name) for name in proto.input]
        proto.output[:] = [_plain(name) for name in proto.output]
        nodes.append(proto)
    used = dict.fromkeys(name for node in island.attrs["nodes"] for name in node.inputs)
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(graph.constants[name]), _plain(name))
        for name in used
        if name in graph.constants
    ]
    domains = sorted({node.domain for node in island.attrs["nodes"]} - {""})
    return helper.make_model(
        helper.make_graph(
            nodes,
            "island",
            [info(name) for name in island.inputs],
            [info(name) for name in island.outputs],
            constants,
        ),
        opset_imports=[
            helper.make_opsetid("", graph.opset),
            *(helper.make_opsetid(domain, 1) for domain in domains),
        ],
        ir_version=_IR_VERSION,
    )


def _plain(name: str) -> str:
    """The importer renames what is no identifier, and then may not find it again."""
    return "".join(c if c.isalnum() else f"_{ord(c)}_" for c in f"t_{name}") if name else name


def _calls(module: Any, island: Node) -> list[FloatCall]:
    """Flatten `main`, which is a straight list of `call_tir` after legalisation."""
    from tvm import relax

    main = module["main"]
    env: dict[Any, Any] = dict(zip(main.params, island.inputs, strict=True))

    def resolve(expr: Any) -> Any:
        if isinstance(expr, relax.Var):
            return env[expr]
        if isinstance(expr, relax.Tuple):
            return tuple(resolve(field) for field in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            return resolve(expr.tuple_value)[int(expr.index)]
        return expr.value.numpy()  # a constant

    pending: list[tuple[Any, tuple[Any, ...], tuple[str, ...], tuple[int, ...]]] = []
    for block in main.body.blocks:
        for binding in block.bindings:
            value = binding.value
            if not isinstance(value, relax.Call):
                env[binding.var] = resolve(value)
                continue
            func, inputs = module[value.args[0]], resolve(value.args[1])
            types = value.ty_args[0] if hasattr(value, "ty_args") else value.sinfo_args[0]
            fields = list(getattr(types, "fields", [types]))
            names = tuple(f"{island.name}:float{len(pending)}.{i}" for i in range(len(fields)))
            env[binding.var] = names if hasattr(types, "fields") else names[0]
            pending.append((func, inputs, names, tuple(_nbytes(kind) for kind in fields)))
    results = resolve(main.body.body)
    results = results if isinstance(results, tuple) else (results,)
    final = dict(zip(results, island.outputs, strict=True))
    if len(final) < len(results) or not all(isinstance(name, str) for name in results):
        raise UnsupportedError(
            f"the model's outputs {', '.join(island.outputs)} are equal or constant",
            "remove the duplicate output from the model",
        )
    return [
        FloatCall(
            func=func,
            inputs=tuple(final.get(a, a) if isinstance(a, str) else a for a in inputs),
            outputs=tuple(final.get(name, name) for name in names),
            output_bytes=sizes,
        )
        for func, inputs, names, sizes in pending
    ]


def _nbytes(kind: Any) -> int:
    import numpy as np

    count = 1
    for extent in kind.shape.values:
        count *= int(extent)
    return count * np.dtype(str(kind.dtype)).itemsize


def island(low: Lowering, node: Node) -> None:
    """Float operators: TVM's functions, each a call; temporaries are buffers of their own."""
    for call in lower_island(low.graph, node, low.tvm_target):
        for name, size in zip(call.outputs, call.output_bytes, strict=True):
            if name not in low.graph.tensors:
                low.buffers[name] = Buffer(name=name, bytes=size)
        args: list[Arg] = [_operand(low, operand) for operand in (*call.inputs, *call.outputs)]
        known = low.graph.tensors.get(call.outputs[-1])
        low.calls.append(
            Call(
                name=call.outputs[-1],
                op="float",
                code=Code.of(call.func),
                args=tuple(args),
                writes=len(call.outputs),
                integer=False,
                reason=node.reason,
                output=spec_of(known) if known else None,
            )
        )


def _operand(low: Lowering, operand: Any) -> Arg:
    if not isinstance(operand, str):
        return Const(array=operand)
    return Ref(buffer=operand) if operand in low.buffers else low.place(operand)
