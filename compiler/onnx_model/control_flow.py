"""If, Scan and Loop as operators of the graph around them, where constants and shapes say what they
do: which branch is taken, how many turns there are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import node_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

OPERATORS = frozenset(("If", "Loop", "Scan"))
MOST_NODES = 4096  # that a loop may become
_AXES_ARE_AN_OPERAND = 13  # of Unsqueeze since this operator set
_WITHOUT_BATCH = 9  # Scan since this operator set


@dataclass
class Unrolled:
    """What takes the place of a node: operators, in order, and the weights that they read."""

    nodes: "list[onnx.NodeProto]" = field(default_factory=list)
    weights: "list[onnx.TensorProto]" = field(default_factory=list)

    def op(self, op: str, inputs: Sequence[str], result: str, **attributes: object) -> str:
        self.nodes.append(node_of(op, inputs, result, attributes))
        return result

    def constant(self, name: str, value: "NDArray[np.generic]") -> str:
        import onnx

        self.weights.append(onnx.numpy_helper.from_array(value, name))
        return name

    def run(self, body: "onnx.GraphProto", stem: str, given: Mapping[str, str]) -> list[str]:
        """The operators of a graph inside a node, for operands of these names.

        What it makes is named after `stem`. Returns the names of its results.
        """
        import onnx

        names = dict(given)
        # A name is made once in a graph (ONNX's SSA), and a body may be written out many times.
        for weight in body.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(weight)
            copy.name = names[weight.name] = f"{stem}:{weight.name}"
            self.weights.append(copy)
        for node in body.node:
            names |= {name: f"{stem}:{name}" for name in node.output if name}
            inner = onnx.NodeProto()
            inner.CopyFrom(node)
            _rename([inner], names)
            self.nodes.append(inner)
        # A result that the body does not make is a tensor of the graph around it.
        return [names.get(value.name, value.name) for value in body.output]


def unrolled(
    node: "onnx.NodeProto",
    constants: "Mapping[str, NDArray[np.generic]]",
    shapes: Mapping[str, tuple[int, ...]],
    opset: int,
) -> Unrolled | None:
    """The operators that an If, Scan or Loop stands for; None where that depends on data, or where
    there would be more than `MOST_NODES`.
    """
    if node.domain not in ("", "ai.onnx"):
        return None
    match node.op_type:
        case "If":
            return _taken(node, constants)
        case "Scan":
            return _scan(node, {**shapes, **{k: v.shape for k, v in constants.items()}}, opset)
        case "Loop":
            return _loop(node, constants, opset)
    return None


def _taken(
    node: "onnx.NodeProto", constants: "Mapping[str, NDArray[np.generic]]"
) -> Unrolled | None:
    if node.input[0] not in constants:
        return None
    given = operators.attributes(node)
    # `all`: the condition is one truth value, but of any rank.
    branch = given["then_branch" if constants[node.input[0]].all() else "else_branch"]
    out = Unrolled()
    results = out.run(branch, _stem(node), {})
    for source, result in zip(results, node.output, strict=True):
        if result:
            out.op("Identity", [source], result)
    return out


def _scan(
    node: "onnx.NodeProto", shapes: Mapping[str, tuple[int, ...]], opset: int
) -> Unrolled | None:
    given = operators.attributes(node)
    body, count = given["body"], given["num_scan_inputs"]
    # Operands: the states, then what is scanned. Results: the last states, then what was collected.
    states, scanned = list(node.input[:-count]), list(node.input[-count:])
    axes = given.get("scan_input_axes", [0] * count)
    backward = given.get("scan_input_directions", [0] * count)
    # Scan-8 had an operand of sequence lengths in front, and the batch as the first axis.
    if opset < _WITHOUT_BATCH or any(name not in shapes for name in scanned):
        return None
    # All that is scanned has as many slices, so the first one's extent counts the turns.
    turns = shapes[scanned[0]][axes[0]]
    # Without a turn, what is collected has no elements, for which no program has a place.
    if not 0 < turns * len(body.node) <= MOST_NODES:
        return None
    out, stem, collected = Unrolled(), _stem(node), []
    for turn in range(turns):
        here = f"{stem}:{turn}"
        slices = []
        for i, name in enumerate(scanned):
            place = turns - 1 - turn if backward[i] else turn
            index = out.constant(f"{here}:index{i}", np.array(place))
            slices.append(out.op("Gather", [name, index], f"{here}:slice{i}", axis=axes[i]))
        inputs = [value.name for value in body.input]
        results = out.run(body, here, dict(zip(inputs, (*states, *slices), strict=True)))
        states = results[: len(states)]
        collected.append(results[len(states) :])
    outputs = len(node.output) - len(states)
    joined = _Joined(
        axes=given.get("scan_output_axes", [0] * outputs),
        backward=given.get("scan_output_directions", [0] * outputs),
    )
    _finish(out, node, states, collected, joined, opset)
    return out


def _loop(
    node: "onnx.NodeProto", constants: "Mapping[str, NDArray[np.generic]]", opset: int
) -> Unrolled | None:
    body = operators.attributes(node)["body"]
    # A name, "" for an operand that is left out, None for one that is computed. Without a number of
    # turns the condition alone ends a Loop, which depends on data.
    trips, condition = (name if name in constants or not name else None for name in node.input[:2])
    if not trips or condition is None or not _goes_on(body):
        return None
    turns = int(constants[trips].reshape(-1)[0])
    if condition and not constants[condition].all():
        turns = 0
    if not 0 < turns * len(body.node) <= MOST_NODES:
        return None
    out, stem, collected, states = Unrolled(), _stem(node), [], list(node.input[2:])
    inputs = [value.name for value in body.input]
    true = out.constant(f"{stem}:true", np.array(True))
    for turn in range(turns):
        here = f"{stem}:{turn}"
        number = out.constant(f"{here}:number", np.array(turn))
        # The first result is the condition, of which `_goes_on` says that it stays true.
        _, *results = out.run(body, here, dict(zip(inputs, (number, true, *states), strict=True)))
        states = results[: len(states)]
        collected.append(results[len(states) :])
    outputs = len(node.output) - len(states)
    _finish(
        out, node, states, collected, _Joined(axes=[0] * outputs, backward=[0] * outputs), opset
    )
    return out


def _goes_on(body: "onnx.GraphProto") -> bool:
    """Whether a loop's body hands the condition on as it is."""
    made = {name: node for node in body.node for name in node.output}
    name = body.output[0].name
    while name in made and made[name].op_type == "Identity":
        name = made[name].input[0]
    if name in made and made[name].op_type == "Constant":
        value = operators.attributes(made[name]).get("value")
        return value is not None and bool(np.any(_array(value)))
    return bool(name == body.input[1].name)


def _array(tensor: "onnx.TensorProto") -> "NDArray[np.generic]":
    import onnx

    found: NDArray[np.generic] = onnx.numpy_helper.to_array(tensor)
    return found


@dataclass(frozen=True, kw_only=True)
class _Joined:
    """How what each turn makes is joined: along which new axis, and whether the last is first."""

    axes: Sequence[int]
    backward: Sequence[int]


def _finish(
    out: Unrolled,
    node: "onnx.NodeProto",
    states: Sequence[str],
    collected: Sequence[Sequence[str]],
    joined: _Joined,
    opset: int,
) -> None:
    """The last states and what the turns made, under the names of the node's results."""
    # Not strict: behind the states the node's results go on with what was collected.
    for source, result in zip(states, node.output, strict=False):
        if result:
            out.op("Identity", [source], result)
    for i, result in enumerate(node.output[len(states) :]):
        if not result:
            continue
        parts = []
        for turn, results in enumerate(collected):
            name = f"{result}:part{turn}"
            if opset < _AXES_ARE_AN_OPERAND:
                out.op("Unsqueeze", [results[i]], name, axes=[joined.axes[i]])
            else:
                axes = out.constant(f"{name}:axes", np.array([joined.axes[i]]))
                out.op("Unsqueeze", [results[i], axes], name)
            parts.append(name)
        # The turns came in one order always; a direction of 1 puts each result in front.
        if joined.backward[i]:
            parts.reverse()
        out.op("Concat", parts, result, axis=joined.axes[i])


def _stem(node: "onnx.NodeProto") -> str:
    names: list[str] = list(node.output)
    return next(name for name in names if name)


def _rename(nodes: "Iterable[onnx.NodeProto]", names: Mapping[str, str]) -> None:
    """Rename in place, in the graphs inside the nodes too, which see what is around them."""
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            # `g` of an attribute that holds no graph is an empty one: nothing to rename.
            for graph in (attribute.g, *attribute.graphs):
                _rename(graph.node, names)
                for value in graph.output:
                    value.name = names.get(value.name, value.name)
