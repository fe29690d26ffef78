"""LSTM, GRU and RNN as the products and functions of each of their steps.

The number of steps is the length of the sequence, which a program has fixed. Equations and the
order of the gates: the operators of these names in ONNX's specification.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

MOST_STEPS = 512
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
RECURRENT = tuple(_GATES)
_FUNCTIONS = {"LSTM": "Sigmoid Tanh Tanh", "GRU": "Sigmoid Tanh", "RNN": "Tanh"}
_KNOWN = ("Sigmoid", "Tanh", "Relu")


def layers(model: "onnx.ModelProto") -> list[str]:
    """The kinds of recurrent layers that a model has, in order."""
    return sorted({node.op_type for node in model.graph.node} & _GATES.keys())


def steps(facts: "ModelFacts", node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
    """None for lengths that are not known, for functions with parameters, and for what would be
    more than `MOST_STEPS`.
    """
    given = operators.attributes(node)
    x = facts.static(node.input[0])
    weight, recurrence = (facts.static(name) for name in node.input[1:3])
    functions = [f.decode() if isinstance(f, bytes) else f for f in given.get("activations", [])]
    # Listed are the functions of one direction, then those of the other.
    functions = functions or _FUNCTIONS[node.op_type].split() * 2
    each = len(_FUNCTIONS[node.op_type].split())
    if not x or not weight or not recurrence or operators.given_parameters(node):
        return None
    _check_sizes(node, weight, recurrence)
    layout = given.get("layout", 0)
    length, batch = (x[1], x[0]) if layout else (x[0], x[1])
    lengths = _operand(node, 4)
    if lengths and (lengths not in facts.constants or (facts.constants[lengths] != length).any()):
        return None  # shorter sequences
    if length > MOST_STEPS or not set(functions) <= set(_KNOWN):
        return None
    cell = Cell(
        facts=facts, node=node, given=given, length=length, batch=batch, width=recurrence[-1],
        ways=recurrence[0], functions=functions[:each],
    )  # fmt: skip
    directions = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}
    ways = directions[given.get("direction", "forward")]
    data = cell.op("Transpose", node.input[0], perm=[1, 0, 2]) if layout else node.input[0]
    ends = []
    for i, way in enumerate(ways):
        cell.functions = functions[i * each : (i + 1) * each]
        ends.append(cell.run(i, data, backward=bool(way)))
    cell.results(ends, layout)
    return cell.nodes


def _check_sizes(
    node: "onnx.NodeProto", weight: tuple[int, ...], recurrence: tuple[int, ...]
) -> None:
    """Raise UnsupportedError where the weights are not those of gates of the state's own width."""
    gates, width = _GATES[node.op_type], recurrence[-1]
    rows = (recurrence[0], gates * width)
    if weight[:2] != rows or recurrence[:2] != rows:
        raise UnsupportedError(
            f"operator {node.op_type} ({(node.output[0] or node.name)!r}): its weights, {weight} "
            f"and {recurrence}, are not of {gates} gates of {width} values",
            hint="a layer that projects its state (proj_size) is not supported",
        )


def _operand(node: "onnx.NodeProto", place: int) -> str:
    return node.input[place] if place < len(node.input) else ""


@dataclass(kw_only=True)
class _Direction:
    """What a direction makes: the states by step, and the last cell's state of an LSTM."""

    states: list[str]  # (batch, width) each, in the order of the sequence
    last: str
    cell: str = ""


@dataclass(kw_only=True)
class Cell(NodeWriter):
    """Writes the steps."""

    given: operators.Attributes
    length: int
    batch: int
    width: int
    ways: int  # directions
    functions: list[str]  # of the direction that is being written

    def shaped(self, name: str, *shape: int) -> str:
        """The same values in another shape."""
        return self.op("Reshape", name, self.numbers(*shape))

    def direction(self, place: int, i: int) -> str:
        """The part of an operand that belongs to a direction; "" for an operand that is absent."""
        name = _operand(self.node, place)
        if not name:
            return ""
        return self.op("Gather", name, self.constant(np.array(i)), axis=0)

    def part(self, name: str, first: int, count: int, axis: int = 1) -> str:
        """Rows of gates that lie side by side, `count` from `first` on."""
        begin, end = first * self.width, (first + count) * self.width
        bounds = (self.numbers(begin), self.numbers(end), self.numbers(axis))
        return self.op("Slice", name, *bounds)

    def function(self, which: int, name: str) -> str:
        """A gate's or state's function, of sums that are clipped before it."""
        if clip := self.given.get("clip"):
            dtype = self.facts.dtypes[self.node.input[0]]
            low, high = (self.constant(np.array(v, dtype)) for v in (-clip, clip))
            name = self.op("Clip", name, low, high)
        return self.op(self.functions[which], name)

    def run(self, i: int, data: str, *, backward: bool) -> _Direction:
        """All steps of a direction."""
        gates = _GATES[self.node.op_type]
        # W is (gates · width, in) and R (gates · width, width): the gates lie side by side in
        # columns now.
        weight = self.op("Transpose", self.direction(1, i), perm=[1, 0])
        recurrence = self.op("Transpose", self.direction(2, i), perm=[1, 0])
        # The data's part of every step in one product: (length, batch, gates · width).
        projected = self.op("MatMul", data, weight)
        recurrent_bias = ""
        if bias := self.direction(3, i):
            # B holds the data's bias, then the recurrence's.
            given, recurrent_bias = (self.part(bias, k, gates, axis=0) for k in (0, gates))
            if self.node.op_type != "GRU":  # whose reset gate may stand between them
                given, recurrent_bias = self.op("Add", given, recurrent_bias), ""
            projected = self.op("Add", projected, given)
        step = STEPS[self.node.op_type]
        state, cell = self.initial(5, i), self.initial(6, i) if gates == 4 else ""
        peephole = self.direction(7, i) if gates == 4 else ""
        found: list[str] = []
        order = range(self.length)[::-1] if backward else range(self.length)
        for t in order:
            if self.length == 1:
                here = self.shaped(projected, self.batch, gates * self.width)
            else:
                here = self.op("Gather", projected, self.constant(np.array(t)), axis=0)
            state, cell = step(self, here, state, cell, (recurrence, recurrent_bias, peephole))
            found.append(state)
        # Backward, the last state is that of the first value of the sequence.
        return _Direction(states=found[::-1] if backward else found, last=state, cell=cell)

    def initial(self, place: int, i: int) -> str:
        """What a direction begins with: an operand, or zeros."""
        if name := _operand(self.node, place):
            if self.ways == 1:
                return self.shaped(name, self.batch, self.width)
            if self.given.get("layout", 0):  # (batch, direction, width)
                return self.op("Gather", name, self.constant(np.array(i)), axis=1)
            return self.direction(place, i)
        zeros = np.zeros((self.batch, self.width), self.facts.dtypes[self.node.input[0]])
        return self.constant(zeros)

    def _results_of_one(self, end: _Direction, outputs: list[str], layout: int) -> None:
        """The same of one direction, whose axis only has to be written."""
        batch, width = self.batch, self.width
        if outputs[0]:
            whole = end.states[0]
            if self.length > 1:
                parts = [self.shaped(state, 1, batch, width) for state in end.states]
                whole = self.op("Concat", *parts, axis=0)
                whole = self.op("Transpose", whole, perm=[1, 0, 2]) if layout else whole
            shape = (batch, self.length, 1) if layout else (self.length, 1, batch)
            self.reshaped(whole, outputs[0], *shape, width)
        for output, name in ((outputs[1], end.last), (outputs[2], end.cell)):
            if output:
                self.reshaped(name, output, *((batch, 1) if layout else (1, batch)), width)

    def reshaped(self, name: str, result: str, *shape: int) -> None:
        """Let a result be the same values in another shape."""
        self.op("Reshape", name, self.numbers(*shape), result=result)

    def results(self, ends: list[_Direction], layout: int) -> None:
        """Y (length, directions, batch, width), Y_h and an LSTM's Y_c (directions, batch, width);
        with `layout` 1 the batch is the first axis.
        """
        outputs = [*self.node.output, "", "", ""][:3]
        if len(ends) == 1:
            self._results_of_one(ends[0], outputs, layout)
            return
        if outputs[0]:
            ways = []
            for end in ends:
                parts = [self.shaped(s, 1, 1, self.batch, self.width) for s in end.states]
                ways.append(self.op("Concat", *parts, axis=0))
            whole = self.op("Concat", *ways, axis=1)
            order = [2, 0, 1, 3] if layout else [0, 1, 2, 3]
            self.op("Transpose", whole, result=outputs[0], perm=order)
        for output, names in (
            (outputs[1], [end.last for end in ends]),
            (outputs[2], [end.cell for end in ends]),
        ):
            if output:
                parts = [self.shaped(name, 1, self.batch, self.width) for name in names]
                whole = self.op("Concat", *parts, axis=0)
                self.op("Transpose", whole, result=output, perm=[1, 0, 2] if layout else [0, 1, 2])


# From the projected data, the state and the cell's state to the next two; the last operand holds
# the recurrence's weights and bias, and the peepholes, "" for those that are absent.
_Step = Callable[[Cell, str, str, str, tuple[str, str, str]], tuple[str, str]]


def _lstm(
    c: Cell, data: str, state: str, cell: str, operands: tuple[str, str, str]
) -> tuple[str, str]:
    """Gates: input, output, forget, cell; peepholes: input, output, forget."""
    recurrence, bias, peephole = operands
    sums = c.op("Add", data, c.op("MatMul", state, recurrence))
    if bias:
        sums = c.op("Add", sums, bias)
    gates = [c.part(sums, i, 1) for i in range(4)]

    def peeked(gate: int, at: str) -> str:
        if not peephole:
            return gates[gate]
        return c.op("Add", gates[gate], c.op("Mul", c.part(peephole, gate, 1, axis=0), at))

    let_in = c.op("Mul", c.function(0, peeked(0, cell)), c.function(1, gates[3]))
    cell = c.op("Add", c.op("Mul", c.function(0, peeked(2, cell)), cell), let_in)
    shown = c.op(c.functions[2], cell)
    return c.op("Mul", c.function(0, peeked(1, cell)), shown), cell


def _gru(
    c: Cell, data: str, state: str, cell: str, operands: tuple[str, str, str]
) -> tuple[str, str]:
    """Gates: update, reset, hidden."""
    recurrence, bias, _ = operands
    sums = c.op("MatMul", state, c.part(recurrence, 0, 2))
    if bias:
        sums = c.op("Add", sums, c.part(bias, 0, 2, axis=0))
    sums = c.op("Add", sums, c.part(data, 0, 2))
    update, reset = (c.function(0, c.part(sums, i, 1)) for i in (0, 1))
    before = bool(c.given.get("linear_before_reset", 0))
    source = state if before else c.op("Mul", reset, state)
    hidden = c.op("MatMul", source, c.part(recurrence, 2, 1))
    if bias:
        hidden = c.op("Add", hidden, c.part(bias, 2, 1, axis=0))
    if before:
        hidden = c.op("Mul", reset, hidden)
    hidden = c.function(1, c.op("Add", hidden, c.part(data, 2, 1)))
    # (1 − z) · hidden + z · state, with one product less.
    change = c.op("Mul", update, c.op("Sub", state, hidden))
    return c.op("Add", hidden, change), cell


def _rnn(
    c: Cell, data: str, state: str, cell: str, operands: tuple[str, str, str]
) -> tuple[str, str]:
    recurrence, bias, _ = operands
    sums = c.op("Add", data, c.op("MatMul", state, recurrence))
    return c.function(0, c.op("Add", sums, bias) if bias else sums), cell


STEPS: dict[str, _Step] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
