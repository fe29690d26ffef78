"""Comparisons of numbers with 0, 1, 2, … are rows with one value at the place of each number, and
the product of such rows with weights is a choice among as many results as there are places.
"""

from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import Fill, FloatFinish, IntFinish
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.linear import Dense
from edgekiln.compiler.ir.moves import INDICES, Reshape, Take
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import Onnx
from edgekiln.compiler.ir.ops import Lookup, Quantize
from edgekiln.compiler.ir.rewrite import graph_pass, remove_unused
from edgekiln.compiler.ir.selection_ops import OneHot
from edgekiln.compiler.ir.tensor import QMIN, Tensor
from edgekiln.compiler.passes.chains import only_reshapes, readers_in_a_row
from edgekiln.compiler.passes.walk import is_operator, quantize_scalar

_RENAMING = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # the same numbers


@graph_pass
def one_hot(graph: Graph) -> None:
    """Cast(Equal(numbers, [0, 1, …])), or Where by that, becomes rows of floats, or of codes where
    they are quantized.
    """
    producers = graph.producers()
    rows: dict[str, Node] = {}
    for node in graph.nodes:
        source = rows.get(node.inputs[0]) if isinstance(node.op, Quantize) else None
        made = _compared(graph, producers, node) if source is None else _coded(graph, source, node)
        if made is not None:
            rows[node.name] = made
    graph.nodes = [rows.get(node.name, node) for node in graph.nodes]
    if rows:
        remove_unused(graph)


def _compared(graph: Graph, producers: dict[str, Node], node: Node) -> Node | None:
    values = _values(graph, node)
    condition = producers.get(node.inputs[0]) if values else None
    if values is None or condition is None or not is_operator(condition, "Equal"):
        return None
    shape = graph.tensors[node.name].shape
    if graph.tensors[condition.name].shape != shape:
        return None
    for given, places in (condition.inputs, condition.inputs[::-1]):
        axis = _axis_of_places(graph.constants.get(places), shape)
        numbers = graph.tensors.get(given)
        if axis is None or numbers is None or given in graph.constants:
            continue
        if numbers.dtype in INDICES and numbers.elements * shape[axis] == prod(shape):
            on, off = (Fill(value=value) for value in values)
            op = OneHot(axis=axis, on=on, off=off)
            return replace(node, op=op, inputs=(_renamed(producers, given),), reason="")
    return None


def _values(graph: Graph, node: Node) -> tuple[float, float] | None:
    """What floats an operator makes of true and of false."""
    if graph.tensors[node.name].dtype != "float32":
        return None
    if is_operator(node, "Cast"):
        return 1.0, 0.0
    if not is_operator(node, "Where"):
        return None
    numbers = [graph.constants.get(name) for name in node.inputs[1:]]
    if any(number is None or number.size != 1 for number in numbers):
        return None
    on, off = (float(number.reshape(-1)[0]) for number in numbers if number is not None)
    return on, off


def _axis_of_places(places: NDArray[np.generic] | None, shape: tuple[int, ...]) -> int | None:
    """The axis along which a constant counts 0, 1, 2, …, if it does nothing else."""
    if places is None or places.size < 2 or places.ndim > len(shape):
        return None
    whole = (1,) * (len(shape) - places.ndim) + places.shape
    axis = max(range(len(shape)), key=lambda each: whole[each])
    counts = whole[axis] == shape[axis] == places.size
    return axis if counts and np.array_equal(places.reshape(-1), np.arange(places.size)) else None


def _renamed(producers: dict[str, Node], name: str) -> str:
    """The tensor whose numbers these are, in the same order."""
    while (maker := producers.get(name)) is not None and _only_renames(maker):
        name = maker.inputs[0]
    return name


def _only_renames(node: Node) -> bool:
    return isinstance(node.op, Onnx) and node.op.op_type in _RENAMING and not node.op.domain


def _coded(graph: Graph, source: Node, node: Node) -> Node | None:
    """The codes of rows of floats."""
    assert isinstance(source.op, OneHot), source.name
    assert isinstance(node.op, Quantize), node.name
    y = graph.tensors[node.name]
    if y.quant is None or node.op.half_away:
        return None
    on, off = (
        Fill(value=quantize_scalar(fill.value, y.quant, y.dtype))
        for fill in (source.op.on, source.op.off)
    )
    return replace(node, op=replace(source.op, on=on, off=off), inputs=source.inputs)


@graph_pass
def one_hot_product(graph: Graph) -> None:
    """The product of each possible row is computed here, and the tables of functions behind it are
    looked up; the program takes the results that its numbers name.
    """
    producers, users = graph.producers(), graph.consumers()
    chosen: dict[str, Node] = {}
    for node in graph.nodes:
        rows = _rows_of(graph, producers, node)
        table = None if rows is None else _products(graph, node, rows)
        if rows is not None and table is not None:
            name, table = _looked_up(graph, users, node.name, table)
            chosen[name] = _take(graph, name, rows.inputs[0], table)
    graph.nodes = [
        each
        for node in graph.nodes
        for each in ([chosen[node.name], _shaped(node)] if node.name in chosen else [node])
    ]
    if chosen:
        remove_unused(graph)


def _rows_of(graph: Graph, producers: dict[str, Node], node: Node) -> Node | None:
    """The rows that a product is of: each of them along its last axis."""
    maker = producers.get(node.inputs[0]) if isinstance(node.op, Dense) else None
    while maker is not None and only_reshapes(graph, maker):
        maker = producers.get(maker.inputs[0])
    if maker is None or not isinstance(maker.op, OneHot) or not isinstance(node.op, Dense):
        return None
    shape = graph.tensors[maker.name].shape
    whole = maker.op.axis == len(shape) - 1 and shape[-1] == node.op.weight.shape[1]
    return maker if whole else None


def _products(graph: Graph, node: Node, rows: Node) -> NDArray[np.generic] | None:
    """The results for each place, and for a number that names none: (places + 1, channels). None
    where they are not those of the kernel, to the last bit.
    """
    op, one, y = node.op, rows.op, graph.tensors[node.name]
    assert isinstance(op, Dense), node.name
    assert isinstance(one, OneHot), rows.name
    x = graph.tensors[node.inputs[0]]
    columns = np.concatenate([op.weight.T, np.zeros_like(op.weight.T[:1])])
    if op.residual is not None:
        return None
    if op.on_floats:
        # Products with zero are nothing if the weights are numbers, and one rounding is left.
        exact = (one.on.value, one.off.value) == (1, 0) and np.isfinite(op.weight).all()
        if not exact or not isinstance(op.finish, FloatFinish) or op.finish.function:
            return None
        sums = columns.astype(np.float32) + op.bias.astype(np.float32)
        low, high = (np.float32(limit) for limit in op.finish.limits)
        return sums.clip(low, high)
    if x.quant is None or y.quant is None or not isinstance(op.finish, IntFinish) or op.is_fixed:
        return None
    assert isinstance(op.mult, np.ndarray), node.name
    on, off = (int(fill.value) - x.quant.zero_point for fill in (one.on, one.off))
    whole = op.bias + off * op.weight.sum(axis=1, dtype=np.int64)
    whole = whole + (on - off) * columns.astype(np.int64)
    # The kernel's arithmetic: sums modulo 2³², a float32 factor, half to even.
    steps = np.rint(whole.astype(np.int32).astype(np.float32) * op.mult) + y.quant.zero_point
    codes: NDArray[np.generic] = steps.clip(*op.finish.limits).astype(y.dtype)
    return codes


def _looked_up(
    graph: Graph, users: dict[str, list[Node]], name: str, table: NDArray[np.generic]
) -> tuple[str, NDArray[np.generic]]:
    """The last of the tables of functions behind a tensor, and what it makes of the results."""
    for node in readers_in_a_row(graph, users, name):
        if isinstance(node.op, Lookup):
            lowest = QMIN[graph.tensors[node.inputs[0]].dtype]
            name, table = node.name, node.op.table.entries[table.astype(int) - lowest]
        elif not only_reshapes(graph, node):
            break
    return name, table


def _take(graph: Graph, name: str, numbers: str, table: NDArray[np.generic]) -> Node:
    """The rows of a table that numbers take, in the shape that they give it."""
    y, constant, rows = graph.tensors[name], f"{name}:table", f"{name}:rows"
    graph.constants[constant] = table
    graph.put(Tensor(name=constant, shape=table.shape, dtype=y.dtype, quant=y.quant))
    graph.put(replace(y, name=rows, shape=(*graph.tensors[numbers].shape, table.shape[1])))
    take = Take(axis=0, last_is_other=True)
    return Node(op=take, inputs=(constant, numbers), outputs=(rows,))


def _shaped(node: Node) -> Node:
    """The rows that were taken, as what they are taken for."""
    return Node(op=Reshape(), inputs=(f"{node.name}:rows",), outputs=node.outputs)
