"""What must hold of a graph between any two passes."""

from collections.abc import Iterator

from edgekiln.compiler.ir.codes import IntFinish
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import Onnx, Subgraph
from edgekiln.compiler.ir.tensor import QMAX, QMIN, Tensor


def faults(graph: Graph) -> list[str]:
    """What is wrong, each with the name of the tensor or node; empty if the graph is sound."""
    parts = (_order, _edges, _states, _dangling, _operations)
    return [fault for part in parts for fault in part(graph)]


def _order(graph: Graph) -> Iterator[str]:
    """Nodes come after what they read, and each value is made once."""
    made = {*graph.inputs, *graph.constants, ""}
    for node in graph.nodes:
        for name in node.inputs:
            if name not in made:
                yield f"{node.name}: reads {name!r}, which nothing before it makes"
        for name in node.outputs:
            if name and name in made:
                yield f"{node.name}: makes {name!r}, which is there already"
            made.add(name)
        made.update(graph.completes(node))


def _edges(graph: Graph) -> Iterator[str]:
    """The program's inputs and outputs have types, and the outputs are made."""
    made = {name for node in graph.nodes for name in node.outputs}
    for name in (*graph.inputs, *graph.outputs):
        if name not in graph.tensors:
            yield f"{name}: an input or output without a type"
    for name in graph.outputs:
        if name not in made:
            yield f"{name}: an output that no node makes"


def _states(graph: Graph) -> Iterator[str]:
    """Both ends of a state are edges, and what one call leaves the next one can read."""
    for state in graph.states:
        if state.input not in graph.inputs or state.output not in graph.outputs:
            yield f"{state.name}: a state whose ends are no input and output"
            continue
        first, last = graph.tensors[state.input], graph.tensors[state.output]
        # Codes may be read by another scale than they were made by, if the model says so.
        if (first.shape, first.dtype, first.layout) != (last.shape, last.dtype, last.layout):
            yield f"{state.name}: a state that is left as another type than it is read"


def _dangling(graph: Graph) -> Iterator[str]:
    """Every tensor is named by somebody."""
    named = {*graph.inputs, *graph.outputs}
    for node in graph.nodes:
        # The tensors inside a subgraph are named by nodes that the graph does not list.
        for inner in (node, *(node.op.nodes if isinstance(node.op, Subgraph) else ())):
            named |= {*inner.inputs, *inner.outputs}
    named |= {tensor.part.whole for tensor in graph.tensors.values() if tensor.part}
    for name in graph.tensors:
        if name not in named:
            yield f"{name}: a tensor that no node names"


def _operations(graph: Graph) -> Iterator[str]:
    """Types are whole, and fit the operation."""
    for node in graph.nodes:
        names = [name for name in (*node.inputs, *node.outputs) if name]
        untyped = [name for name in names if name not in {**graph.tensors, **graph.constants}]
        for name in untyped:
            yield f"{node.name}: {name!r} has no type"
        tensors = [graph.tensors[name] for name in names if name in graph.tensors]
        for tensor in tensors:
            if not tensor.dtype or not all(extent > 0 for extent in tensor.shape):
                yield f"{tensor.name}: its type {tensor.dtype}{list(tensor.shape)} is not whole"
        # What ONNX's operators ask of their operands, its own inference has checked.
        if not untyped and not isinstance(node.op, Onnx):
            yield from _fits(graph, node, tensors)


def _fits(graph: Graph, node: Node, tensors: list[Tensor]) -> Iterator[str]:
    if not isinstance(node.op, Subgraph):
        for tensor in tensors:
            bare = tensor.dtype in QMIN and tensor.quant is None
            if bare and not node.op.takes_bytes:
                yield f"{tensor.name}: codes without a quantization"
        yield from _codes(graph.tensors[node.name], node.op)
    missing = [name for name in node.inputs if name not in graph.tensors]
    if missing:
        yield f"{node.name}: {missing[0]!r} has no type"
        return
    xs = [graph.tensors[name] for name in node.inputs]
    ys = [graph.tensors[name] for name in node.outputs]
    if fault := node.op.fault(xs, ys):
        yield f"{node.name}: {node.op.kind}: {fault}"


def _codes(result: Tensor, op: Op) -> Iterator[str]:
    """A result that is clipped as codes has codes, of its own type."""
    finish = getattr(op, "finish", None)
    if not isinstance(finish, IntFinish):
        return
    if result.quant is None or result.dtype not in QMIN:
        yield f"{result.name}: {op.kind} makes codes of what has no quantization"
    elif finish.qmin < QMIN[result.dtype] or finish.qmax > QMAX[result.dtype]:
        yield f"{result.name}: {op.kind} makes codes {finish} of {result.dtype}"
