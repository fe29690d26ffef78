"""If and Loop whose course is known when the model is read become the nodes that they run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.nested import defined_in, graphs_of, renamed

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

MOST_NODES = 20_000  # that a loop may become; a longer one stays, and is refused by name


def has_any(model: "onnx.ModelProto") -> bool:
    """Whether the graph holds an If or a Loop."""
    return any(node.op_type in ("If", "Loop") and not node.domain for node in model.graph.node)


def inline(model: "onnx.ModelProto") -> int:
    """Put, in place, the branch that is taken, or the rounds that are run, where their number is
    constant. What depends on data stays.

    Returns:
        How many went.
    """
    work = _Inlining(model)
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in model.graph.node:
        instead = work.of(node)
        count += instead is not None
        nodes += [node] if instead is None else instead
    if count:
        kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        model.graph.initializer.extend(work.made)
    return count


@dataclass
class _Inlining:
    model: "onnx.ModelProto"
    made: "list[onnx.TensorProto]" = field(default_factory=list)

    def __post_init__(self) -> None:
        import onnx

        graph = self.model.graph
        self.taken = set().union(*map(defined_in, graphs_of(self.model)))
        self.constants = {w.name: onnx.numpy_helper.to_array(w) for w in graph.initializer}
        for node in graph.node:
            if (value := _constant(node)) is not None:
                self.constants[node.output[0]] = value

    def of(self, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        """What a node becomes; None: it stays."""
        if node.domain:
            return None
        if node.op_type == "If":
            return self._branch(node)
        return self._rounds(node) if node.op_type == "Loop" else None

    def _branch(self, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        condition = self.constants.get(node.input[0])
        if condition is None or condition.size != 1:
            return None
        chosen = "then_branch" if condition.reshape(-1)[0] else "else_branch"
        (branch,) = [a.g for a in node.attribute if a.name == chosen]
        nodes, results = self._copied(branch, {})
        return [*nodes, *_identities(results, node.output)]

    def _rounds(self, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        import numpy as np

        (body,) = [a.g for a in node.attribute if a.name == "body"]
        given = [*node.input, "", ""]
        count, goes_on = self.constants.get(given[0]), self.constants.get(given[1])
        never_ends = not given[1] or (goes_on is not None and bool(goes_on.reshape(-1)[0]))
        if count is None or not never_ends or not _always_goes_on(body):
            return None
        rounds = int(count.reshape(-1)[0])
        carried = list(node.input[2:])
        scanned = len(body.output) - 1 - len(carried)
        if rounds * len(body.node) > MOST_NODES or (scanned and rounds < 1):
            return None
        nodes: list[onnx.NodeProto] = []
        rows: list[list[str]] = [[] for _ in range(scanned)]
        true = self._add(f"{node.output[0]}.goes_on", np.array(True))
        for index in range(rounds):
            number = self._add(f"{node.output[0]}.round", np.array(index, np.int64))
            names = dict(zip((v.name for v in body.input), (number, true, *carried), strict=True))
            copied, results = self._copied(body, names)
            nodes += copied
            carried = results[1 : 1 + len(carried)]
            for row, name in zip(rows, results[1 + len(carried) :], strict=True):
                row.append(name)
        ends = node.output[: len(carried)]
        return [*nodes, *_identities(carried, ends), *self._stacked(rows, node.output[len(ends) :])]

    def _stacked(
        self, rows: Sequence[Sequence[str]], outputs: Sequence[str]
    ) -> "Iterator[onnx.NodeProto]":
        """The results of all rounds along a new first axis."""
        import numpy as np
        import onnx

        make = onnx.helper.make_node
        for row, output in zip(rows, outputs, strict=False):
            if not output:
                continue
            first = self._add(f"{output}.axis", np.array([0], np.int64))
            parts = [self._free(f"{output}.{index}") for index in range(len(row))]
            for name, part in zip(row, parts, strict=True):
                yield make("Unsqueeze", [name, first], [part], name=part)
            yield make("Concat", parts, [output], name=output, axis=0)

    def _copied(
        self, graph: "onnx.GraphProto", inputs: dict[str, str]
    ) -> "tuple[list[onnx.NodeProto], list[str]]":
        """A graph's nodes under names of their own, and what its outputs are called now."""
        names = {name: self._free(name) for name in defined_in(graph) - inputs.keys()} | inputs
        for weight in graph.initializer:
            if weight.name not in inputs:
                copy = type(weight)()
                copy.CopyFrom(weight)
                copy.name = names[weight.name]
                self.made.append(copy)
        nodes = [renamed(node, names) for node in graph.node]
        for node in nodes:
            node.name = next((name for name in node.output if name), node.name)
        return nodes, [names.get(value.name, value.name) for value in graph.output]

    def _add(self, name: str, value: "NDArray[np.generic]") -> str:
        import onnx

        name = self._free(name)
        self.made.append(onnx.numpy_helper.from_array(value, name))
        return name

    def _free(self, name: str) -> str:
        candidate, count = name, 0
        while candidate in self.taken:
            count += 1
            candidate = f"{name}.{count}"
        self.taken.add(candidate)
        return candidate


def _identities(names: Sequence[str], outputs: Sequence[str]) -> "Iterator[onnx.NodeProto]":
    import onnx

    for name, output in zip(names, outputs, strict=False):
        if output:
            yield onnx.helper.make_node("Identity", [name], [output], name=output)


def _always_goes_on(body: "onnx.GraphProto") -> bool:
    """Whether a loop's condition for another round is true whatever is computed."""
    import onnx

    name = body.output[0].name
    makers = {out: node for node in body.node for out in node.output}
    while name in makers and makers[name].op_type == "Identity":
        name = makers[name].input[0]
    if name == body.input[1].name:
        return True
    values = {w.name: onnx.numpy_helper.to_array(w) for w in body.initializer}
    value = values.get(name) if name not in makers else _constant(makers[name])
    return value is not None and bool(value.reshape(-1)[0])


def _constant(node: "onnx.NodeProto") -> "NDArray[np.generic] | None":
    import numpy as np
    import onnx

    if node.op_type != "Constant" or node.domain:
        return None
    for key, value in operators.attributes(node).items():
        if key == "value":
            return onnx.numpy_helper.to_array(value)
        if key in ("value_int", "value_float"):
            return np.asarray(value)
    return None
