"""The steps of LSTM and GRU: nodes of `recurrent_functions.DOMAIN`."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.codes import FloatFinish, Quant
from edgekiln.compiler.ir.linear import Dense
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.recurrent_ops import Cell, Recurrent
from edgekiln.compiler.ir.tensor import QMIN, Tensor
from edgekiln.compiler.onnx_model import recurrent_functions
from edgekiln.compiler.onnx_model.recurrent_functions import DATA, STATE
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.own_nodes import demand

_CELLS: dict[str, Cell] = {
    "CodedLstm": "lstm", "CodedGru": "gru", "CodedGruResetFirst": "gru_reset_first",
}  # fmt: skip
_demand = partial(
    demand, hint="such nodes are made by `edgekiln quantize`: quantize the model anew"
)


def steps(rw: Rewriter, node: Node) -> str | None:
    """A dense layer of the data of all steps, and one operation for all steps."""
    op = onnx_op(node)
    if op.op_type not in _CELLS:
        return "its recurrence is float"
    cell = _CELLS[op.op_type]
    own = node.inputs[len(DATA)]  # an LSTM's first cell, or a bias
    weights, factors, inverse, zero, *table = (
        _constant(rw, node, len(DATA) + 1 + place) for place in range(len(STATE))
    )
    known = [np.array_equal(*pair) for pair in zip(table, recurrent_functions.table(), strict=True)]
    _demand(node, all(known), "its table is another one")
    _demand(node, weights.dtype == np.int8 and weights.ndim == 2, "its weights are no int8 matrix")
    scale = np.float32(op.real("y_scale", 1.0))
    fitting = inverse.size == 1 and np.float32(1 / scale) == inverse.reshape(-1)[0]
    _demand(node, fitting and zero.size == 1, "its scale is another one than that of its codes")
    _demand(node, bool(2.0**-30 < scale < np.inf), f"its scale is {scale:g}")
    rows = weights.shape[1]
    bias = np.zeros(rows, np.int32) if cell == "lstm" else _constant(rw, node, len(DATA))
    offsets = bias.reshape(-1).astype(np.int32)
    if cell == "gru_reset_first":
        # Behind the reset gate the function adds none.
        offsets[rows * 2 // 3 :] = 0
    made = Recurrent(
        cell=cell,
        backward=bool((op.integers("directions") or (0,))[0]),
        weight=np.ascontiguousarray(weights.T).astype(np.int8),
        bias=offsets,
        factor=factors.reshape(-1).astype(np.float32),
        inverse=np.float32(inverse.reshape(-1)[0]),
    )
    quant = Quant(scale=float(scale), zero_point=int(zero.reshape(-1)[0]))
    state = node.inputs[len(DATA) - 1]
    if cell == "lstm":
        _codes(rw, state, quant)
    reads = (_data(rw, node), state, *([own] if cell == "lstm" else []))
    result = rw.graph.put(replace(rw.graph.tensors[node.name], quant=quant, dtype="int8"))
    after = (*node.outputs, "")[1] or f"{node.name}:after"
    rw.graph.put(Tensor(name=after, shape=result.shape[1:], dtype="float32"))
    fault = made.fault([_tensor(rw, name) for name in reads], (result, rw.graph.tensors[after]))
    _demand(node, not fault, fault)
    rw.emit(Node(op=made, inputs=reads, outputs=(node.name, after)))
    return None


def _data(rw: Rewriter, node: Node) -> str:
    """What the data bring to the gates, of all steps, as floats."""
    op, graph = onnx_op(node), rw.graph
    x_zero, inputs, bias, factors = (_constant(rw, node, place) for place in range(1, 5))
    _demand(node, inputs.dtype == np.int8 and inputs.ndim == 2, "its weights are no int8 matrix")
    quant = Quant(scale=float(np.float32(op.real("x_scale", 1.0))), zero_point=int(x_zero.item()))
    x = _codes(rw, node.inputs[0], quant)
    _demand(node, x.dtype in QMIN, "its data are no codes")
    _demand(node, x.quant == quant, "its data have another scale")
    op_of_data = Dense(
        weight=np.ascontiguousarray(inputs.T), bias=bias.reshape(-1).astype(np.int32),
        mult=factors.reshape(-1).astype(np.float32), finish=FloatFinish(),
    )  # fmt: skip
    name = f"{node.name}:data"
    shape = (x.elements // len(inputs), inputs.shape[1])
    data = graph.put(Tensor(name=name, shape=shape, dtype="float32"))
    fault = op_of_data.fault((x,), (data,))
    _demand(node, not fault, fault)
    rw.make(op_of_data, (x.name,), name)
    return name


def _codes(rw: Rewriter, name: str, quant: Quant) -> Tensor:
    """An operand of codes; an input of the program, or a constant, gets their numbers."""
    tensor = _tensor(rw, name)
    return tensor if tensor.quant else rw.graph.put(replace(tensor, quant=quant))


def _constant(rw: Rewriter, node: Node, place: int) -> NDArray[np.generic]:
    found = rw.graph.constants.get(node.inputs[place]) if place < len(node.inputs) else None
    _demand(node, found is not None, f"its operand {place} is not fixed")
    assert found is not None
    return found


def _tensor(rw: Rewriter, name: str) -> Tensor:
    """An operand; a constant becomes a tensor."""
    if name in rw.graph.constants and name not in rw.graph.tensors:
        value = rw.graph.constants[name]
        return rw.graph.put(Tensor(name=name, shape=value.shape, dtype=value.dtype.name))
    return rw.graph.tensors[name]
