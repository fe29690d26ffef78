"""Graphs inside of a file's first one: branches and loops whose conditions are constant are written
out in it, and what CALL_ONCE assigns to variables is found.

Source: tflite/kernels/{if,while,call_once}.cc.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.tflite import schema
from edgekiln.compiler.onnx_model.tflite.model import (
    TfliteGraph,
    TfliteOperator,
    TfliteTensor,
)
from edgekiln.compiler.onnx_model.tflite.wire import NoTablesError

_Value = NDArray[np.generic] | None  # None: not constant

MOST_TURNS = 1024  # of a loop
_MOST_DEPTH = 16  # of graphs inside of each other
_MOST_OPERATORS = _MOST_CALLS = 1 << 16
_MOST_TENSORS = 1 << 18
_TOO_MUCH = "its loops and branches call each other too often"
# What conditions and counters are computed by.
_KNOWN: Mapping[str, Callable[..., NDArray[np.generic]]] = {
    "ADD": np.add, "EQUAL": np.equal, "GREATER": np.greater, "GREATER_EQUAL": np.greater_equal,
    "LESS": np.less, "LESS_EQUAL": np.less_equal, "LOGICAL_AND": np.logical_and,
    "LOGICAL_NOT": np.logical_not, "LOGICAL_OR": np.logical_or, "MUL": np.multiply,
    "NOT_EQUAL": np.not_equal, "SUB": np.subtract,
}  # fmt: skip
_OPERANDS = {"LOGICAL_NOT": 1}  # of the others two


def written_out(graphs: Sequence[TfliteGraph]) -> TfliteGraph:
    """The first graph, with the others in the places where they are called."""
    writer = _SubgraphWriter(graphs)
    first = graphs[0]
    writer.tensors = list(first.tensors)
    writer.add(first, {number: number for number in range(len(first.tensors))}, 0)
    return replace(first, tensors=tuple(writer.tensors), operators=tuple(writer.operators))


def first_values(graphs: Sequence[TfliteGraph]) -> dict[str, TfliteTensor]:
    """What variables begin with, by their names: a constant that a graph of CALL_ONCE assigns."""
    found: dict[str, TfliteTensor] = {}
    for call in graphs[0].operators:
        if call.name != "CALL_ONCE":
            continue
        graph = _called(graphs, call.options("CallOnce").integer("graph"))
        handles = {}
        for op in graph.operators:
            if op.name == "VAR_HANDLE" and op.outputs:
                handles[op.outputs[0]] = variable_name(op)
            elif op.name == "ASSIGN_VARIABLE" and len(op.inputs) > 1 and op.inputs[0] in handles:
                found[handles[op.inputs[0]]] = graph.tensors[op.inputs[1]]
    return found


def variable_name(op: TfliteOperator) -> str:
    """What a VAR_HANDLE calls its variable, in all graphs of a file; "" if it has no name."""
    options = op.options("VarHandle")
    return "/".join(filter(None, (options.text("container"), options.text("shared_name"))))


def alike(one: TfliteTensor, other: TfliteTensor) -> bool:
    """Whether the same codes stand for the same numbers in both."""
    codes = [(each.dtype, each.scales, each.zeros, each.unsigned) for each in (one, other)]
    return codes[0] == codes[1]


def _called(graphs: Sequence[TfliteGraph], number: int) -> TfliteGraph:
    if not 0 < number < len(graphs):
        raise NoTablesError(f"it calls a graph {number}, of {len(graphs)}")
    return graphs[number]


@dataclass
class _SubgraphWriter:
    """The graph that is made."""

    graphs: Sequence[TfliteGraph]

    def __post_init__(self) -> None:
        self.tensors: list[TfliteTensor] = []
        self.operators: list[TfliteOperator] = []
        self.calls = 0

    def add(self, graph: TfliteGraph, places: Mapping[int, int], depth: int) -> None:
        """Append a graph's operators.

        Args:
            places: of its tensors among those that are made.
        """
        if depth > _MOST_DEPTH:
            raise NoTablesError("its graphs call each other without end")
        for op in graph.operators:
            inputs = [places[each] if each >= 0 else -1 for each in op.inputs]
            outputs = [places[each] for each in op.outputs]
            if op.name == "IF" and (condition := self._truth(inputs[:1])) is not None:
                options = op.options("If")
                branch = options.integer("then_graph" if condition else "else_graph")
                self._call(op, _called(self.graphs, branch), inputs[1:], outputs, depth)
            elif op.name == "WHILE":
                self._loop(op, inputs, outputs, depth)
            elif not self._compute(op, inputs, outputs):
                self._append(replace(op, inputs=tuple(inputs), outputs=tuple(outputs)))

    def _append(self, op: TfliteOperator) -> None:
        if len(self.operators) >= _MOST_OPERATORS:
            raise NoTablesError(_TOO_MUCH)
        self.operators.append(op)

    def _call(
        self, op: TfliteOperator, graph: TfliteGraph, inputs: Sequence[int],
        outputs: Sequence[int], depth: int,
    ) -> None:  # fmt: skip
        """A graph in the place of an operator."""
        self.calls += 1
        if self.calls > _MOST_CALLS:
            raise NoTablesError(_TOO_MUCH)
        if len(graph.inputs) != len(inputs) or len(graph.outputs) != len(outputs):
            raise NoTablesError(f"{op.name} has other operands than the graph that it calls")
        if min(inputs, default=0) < 0:
            raise NoTablesError(f"{op.name} lacks an operand")
        for inner, outer in zip((*graph.inputs, *graph.outputs), (*inputs, *outputs), strict=True):
            if not alike(graph.tensors[inner], self.tensors[outer]):
                raise NoTablesError(f"{op.name} has operands of other codes than what it calls")
        places = dict(zip(graph.inputs, inputs, strict=True))
        made = {each for inner in graph.operators for each in inner.outputs}
        copied = []
        for number, to in zip(graph.outputs, outputs, strict=True):
            if number in made and number not in places:
                places[number] = to
            else:
                copied.append((number, to))
        for number, tensor in enumerate(graph.tensors):
            if number not in places:
                places[number] = self._tensor(tensor)
        self.add(graph, places, depth + 1)
        # What it hands through gets the name of the operator's result.
        for number, to in copied:
            self._copy(op, places[number], to)

    def _loop(
        self, op: TfliteOperator, inputs: Sequence[int], outputs: Sequence[int], depth: int
    ) -> None:
        """A loop, turn by turn, for as long as its condition is a constant that holds; all that it
        has done is undone where it is none.
        """
        options = op.options("While")
        condition = _called(self.graphs, options.integer("condition_graph"))
        body = _called(self.graphs, options.integer("body_graph"))
        begin = len(self.tensors), len(self.operators)
        state = list(inputs)
        for _ in range(MOST_TURNS + 1):
            truth = self._condition(condition, state, depth)
            if truth is None:
                break
            if not truth:
                for source, to in zip(state, outputs, strict=True):
                    self._copy(op, source, to)
                return
            after = [self._tensor(replace(body.tensors[n], data=None)) for n in body.outputs]
            self._call(op, body, state, after, depth)
            state = after
        del self.tensors[begin[0] :], self.operators[begin[1] :]
        self._append(replace(op, inputs=tuple(inputs), outputs=tuple(outputs)))

    def _condition(self, graph: TfliteGraph, state: Sequence[int], depth: int) -> bool | None:
        """Whether a condition holds; None if it is no constant."""
        begin = len(self.tensors), len(self.operators)
        result = self._tensor(replace(graph.tensors[graph.outputs[0]], data=None))
        call = TfliteOperator(name="WHILE", inputs=(), outputs=(), table=graph.table)
        self._call(call, graph, state, [result], depth)
        truth = self._truth([result])
        del self.tensors[begin[0] :], self.operators[begin[1] :]
        return truth

    def _tensor(self, tensor: TfliteTensor) -> int:
        if len(self.tensors) >= _MOST_TENSORS:
            raise NoTablesError(_TOO_MUCH)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _value(self, number: int) -> _Value:
        return self.tensors[number].data if number >= 0 else None

    def _truth(self, numbers: Sequence[int]) -> bool | None:
        value = self._value(numbers[0]) if numbers else None
        if value is None or value.size != 1 or value.dtype != np.bool_:
            return None
        return bool(value.reshape(-1)[0])

    def _compute(self, op: TfliteOperator, inputs: Sequence[int], outputs: Sequence[int]) -> bool:
        """Compute what is constant, of integers and truth values that stand for themselves."""
        function = _KNOWN.get(op.name)
        if function is None or len(inputs) != _OPERANDS.get(op.name, 2) or len(outputs) != 1:
            return False
        kind = op.name.capitalize()
        if kind in schema.OPTIONS and op.options(kind).integer("activation"):
            return False
        values = [self._value(number) for number in inputs]
        plain = [v for v in values if v is not None and v.dtype.kind in "ib" and v.size <= 1]
        tensor = self.tensors[outputs[0]]
        if len(plain) < len(values) or any(self.tensors[n].quantized for n in (*inputs, *outputs)):
            return False
        found = np.asarray(function(*plain)).astype(tensor.dtype).reshape(tensor.shape)
        self.tensors[outputs[0]] = replace(tensor, data=found)
        return True

    def _copy(self, op: TfliteOperator, source: int, to: int) -> None:
        """A result that is an operand, or a constant."""
        value, tensor = self._value(source), self.tensors[to]
        if value is not None and value.size == 1:
            # A counter, or what it is held against, for the next turn.
            self.tensors[to] = replace(tensor, data=value.reshape(tensor.shape))
            return
        self._append(replace(op, name="RESHAPE", inputs=(source,), outputs=(to,)))
