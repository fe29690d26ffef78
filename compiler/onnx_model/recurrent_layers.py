"""LSTM and GRU as the product of their data, and their steps, a node of `recurrent_functions`.

The product is one like any other, of all steps at once; the steps keep their weights once, however
many there are.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import folding, operators, recurrent, rewriting
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.own_functions import declare
from edgekiln.compiler.onnx_model.recurrent_functions import DOMAIN, FLOAT, GATES
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

_FUNCTIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
_WAYS = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}


def is_steps(node: "onnx.NodeProto") -> bool:
    """Whether a node is the steps of floats of a layer."""
    return node.domain == DOMAIN and node.op_type in FLOAT


def write_steps(model: "onnx.ModelProto") -> int:
    """Rewrite the layers that have such a form in place; how many were.

    Their weights must be constants: exporters that fold no large ones write the cutting and joining
    of torch's gates as operators.
    """
    if recurrent.layers(model):
        while folding.fold(model):
            pass
    count = rewriting.rewrite(model, _layer)
    if count:
        declare(model)
    return count


def unroll(model: "onnx.ModelProto") -> int:
    """Write steps of floats in others, one after the other, in place; how many layers were.

    Raises:
        UnsupportedError: a layer has more than `recurrent.MOST_STEPS`.
    """
    steps = [node for node in model.graph.node if is_steps(node)]
    for node in steps:
        length = operators.attributes(node)["shape"][0]
        if length > recurrent.MOST_STEPS:
            raise UnsupportedError(
                f"operator {node.op_type} ({node.name!r}) is float and has {length} steps, more "
                f"than {recurrent.MOST_STEPS}",
                hint="let the layer be quantized, whose steps may be any number, or cut the "
                "sequence: a state that is an input and an output goes from call to call",
            )
    if not steps:
        return 0
    return rewriting.rewrite(model, lambda f, node: _unrolled(f, node) if is_steps(node) else None)


def _layer(facts: "ModelFacts", node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
    if node.op_type not in _FUNCTIONS or node.domain not in ("", "ai.onnx"):
        return None
    given = operators.attributes(node)
    x = facts.static(node.input[0])
    weights = [facts.constants.get(name) for name in node.input[1:4] if name]
    if not x or len(x) != 3 or facts.dtypes.get(node.input[0]) != "float32":
        return None
    if any(weight is None for weight in weights) or not _is_plain(facts, node, given, x):
        return None
    writer = _LayerWriter(
        facts=facts, node=node, given=given, length=x[1 if given.get("layout", 0) else 0],
        batch=x[0 if given.get("layout", 0) else 1],
    )  # fmt: skip
    return writer.write()


def _is_plain(
    facts: "ModelFacts", node: "onnx.NodeProto", given: operators.Attributes, x: tuple[int, ...]
) -> bool:
    """Whole sequences, the usual functions, nothing clipped, no peepholes."""
    wanted = _FUNCTIONS[node.op_type]
    ways = _WAYS.get(given.get("direction", "forward"), ())
    functions = [f.decode() if isinstance(f, bytes) else f for f in given.get("activations", [])]
    usual = not functions or functions == wanted * len(ways)
    peepholes = _given(node, 7)
    lengths = facts.constants.get(_given(node, 4)) if _given(node, 4) else None
    length = x[1 if given.get("layout", 0) else 0]
    whole = not _given(node, 4) or (lengths is not None and bool((lengths == length).all()))
    plain = not given.get("clip") and not operators.given_parameters(node)
    return bool(ways) and usual and plain and whole and not peepholes


def _given(node: "onnx.NodeProto", place: int) -> str:
    return node.input[place] if place < len(node.input) else ""


class _LayerWriter(NodeWriter):
    """Writes a layer."""

    def __init__(
        self, *, facts: "ModelFacts", node: "onnx.NodeProto", given: operators.Attributes,
        length: int, batch: int,
    ) -> None:  # fmt: skip
        super().__init__(facts=facts, node=node)
        self.given, self.length, self.batch = given, length, batch
        self.layout = given.get("layout", 0)
        self.weights, self.recurrence = (facts.constants[name] for name in node.input[1:3])
        self.width = self.recurrence.shape[-1]
        self.gates = 4 if node.op_type == "LSTM" else 3
        self.before = self.gates == 3 and not given.get("linear_before_reset", 0)

    def write(self) -> "list[onnx.NodeProto] | None":
        ways, rows = _WAYS[self.given.get("direction", "forward")], self.gates * self.width
        shape = (len(ways), rows)
        if self.weights.shape[:2] != shape or self.recurrence.shape[:2] != shape:
            return None  # refused by name when the steps are written
        data = self.node.input[0]
        if self.layout:
            data = self.op("Transpose", data, perm=[1, 0, 2])
        data = self.op("Reshape", data, self.numbers(self.length * self.batch, -1))
        ends = [self._direction(i, data, bool(way)) for i, way in enumerate(ways)]
        self._results(ends, ways)
        return self.nodes

    def _direction(self, i: int, data: str, backward: bool) -> tuple[str, str]:
        """The states of all steps, (length, batch, width), and what the last one remembers."""
        rows = self.gates * self.width
        bias, of_state = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
        if name := _given(self.node, 3):
            bias, of_state = np.split(self.facts.constants[name][i], 2)
        # A reset gate may stand between the two biases of what is hidden.
        apart = 0 if self.gates == 4 or self.before else self.width
        bias, of_state = bias.copy(), of_state.copy()
        bias[: rows - apart] += of_state[: rows - apart]
        of_state[: rows - apart] = 0
        weights = self.constant(np.ascontiguousarray(self.weights[i]))
        product = self.op("Gemm", data, weights, self.constant(bias), transB=1)
        matrix = self.constant(np.ascontiguousarray(self.recurrence[i].T))
        h = self._initial(5, i)
        kind = "LstmSteps" if self.gates == 4 else "GruSteps"
        operands = [product, h]
        operands += [self._initial(6, i), matrix] if self.gates == 4 else []
        operands += [] if self.gates == 4 else [matrix, self.constant(of_state)]
        kind += "ResetFirst" if self.before else ""
        return self._steps(kind, operands, backward)

    def _steps(self, kind: str, operands: list[str], backward: bool) -> tuple[str, str]:
        import onnx

        names = [self.facts.free(f"{self.stem}.{part}") for part in ("states", "last")]
        attributes = {
            "shape": [self.length, self.batch, self.gates * self.width],
            "parted": [self.batch, self.gates, self.width],
            "states": [self.length, self.batch, self.width],
            "state": [self.batch, self.width],
            "directions": [int(backward)],
        }
        if self.gates == 3:
            attributes["square"] = [self.width, 3, self.width]
        made = onnx.helper.make_node(kind, operands, names, name=names[0], domain=DOMAIN)
        made.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())
        self.nodes.append(made)
        return names[0], names[1]

    def _initial(self, place: int, i: int) -> str:
        name = _given(self.node, place)
        if not name:
            return self.constant(np.zeros((self.batch, self.width), np.float32))
        # (directions, batch, width), or the first two the other way round.
        if len(self.weights) == 1:
            return self.op("Reshape", name, self.numbers(self.batch, self.width))
        return self.op("Gather", name, self.constant(np.array(i)), axis=1 if self.layout else 0)

    def _results(self, ends: list[tuple[str, str]], ways: tuple[int, ...]) -> None:
        read = self.facts.readers.keys() | self.facts.outputs
        results = [name if name in read else "" for name in self.node.output]
        whole, last, cell = [*results, "", "", ""][:3]
        length, batch, width = self.length, self.batch, self.width
        if whole:
            parts = [self.op("Reshape", y, self.numbers(length, 1, batch, width)) for y, _ in ends]
            self._joined(parts, 1, whole, [2, 0, 1, 3])
        if last and self.gates == 3:  # a state of codes would lose what is less than a step
            parts = [self.op("Reshape", h, self.numbers(1, batch, width)) for _, h in ends]
            self._joined(parts, 0, last, [1, 0, 2])
        elif last:
            parts = [
                self.op("Gather", y, self.numbers(0 if way else length - 1), axis=0)
                for (y, _), way in zip(ends, ways, strict=True)
            ]
            self._joined(parts, 0, last, [1, 0, 2])
        if cell:
            parts = [self.op("Reshape", c, self.numbers(1, batch, width)) for _, c in ends]
            self._joined(parts, 0, cell, [1, 0, 2])

    def _joined(self, parts: list[str], axis: int, result: str, order: list[int]) -> None:
        """The directions side by side, the batch in front where that is the layout."""
        # The node that makes the result is renamed where no other one has to follow.
        if len(parts) > 1:
            made = self.op("Concat", *parts, axis=axis, result="" if self.layout else result)
        else:
            made = parts[0]
        if self.layout:
            self.op("Transpose", made, perm=order, result=result)
        elif len(parts) == 1:
            self.nodes[-1].output[0] = self.nodes[-1].name = result


def _unrolled(facts: "ModelFacts", node: "onnx.NodeProto") -> "list[onnx.NodeProto]":
    given = operators.attributes(node)
    length, batch, _ = given["shape"]
    width, gates = given["parted"][2], GATES[node.op_type]
    before = int(node.op_type == "GruSteps")
    cell = recurrent.Cell(
        facts=facts, node=node, given={"linear_before_reset": before}, length=length, batch=batch,
        width=width, ways=1, functions=["Sigmoid", "Tanh", "Tanh"],
    )  # fmt: skip
    p, state, *others = node.input
    remembered, matrix, bias = (*others, "") if gates == 4 else ("", *others)
    rows = cell.shaped(p, *given["shape"])
    order = range(length)[::-1] if given["directions"][0] else range(length)
    found = {}
    step = recurrent.STEPS["LSTM" if gates == 4 else "GRU"]
    for t in order:
        here = cell.op("Gather", rows, cell.constant(np.array(t)), axis=0)
        state, remembered = step(cell, here, state, remembered, (matrix, bias, ""))
        found[t] = state
    whole, last = [*node.output, ""][:2]
    if whole:
        parts = [cell.shaped(found[t], 1, batch, width) for t in range(length)]
        cell.op("Concat", *parts, axis=0, result=whole)
    if last:
        cell.op("Identity", remembered if gates == 4 else state, result=last)
    return cell.nodes
