"""A model computed piece by piece on the same samples, so that a layer can be changed before what
lies behind it is computed.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import rewriting
from edgekiln.compiler.onnx_model.model_inputs import Inputs
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.onnx_model.stream_session import step_calls

if TYPE_CHECKING:
    import onnx

# A tensor's values, an array a call.
Values = list[NDArray[np.generic]]


class LayerWalk:
    """One pass over a model. A node is computed when something behind it is asked for; of what was
    computed it keeps what is read by nodes that are still to come, and the model's outputs.
    """

    def __init__(
        self, model: "onnx.ModelProto", calls: Sequence[Inputs], *, optimize: bool
    ) -> None:
        """Stand before the first node.

        Args:
            model: its initializers may be changed until the nodes that read them are computed.
            calls: the inputs of each; of a model that remembers, streams, whose steps are calls.
            optimize: as in `Session`.
        """
        self._model, self._optimize = model, optimize
        self._types = rewriting.facts_of(model).dtypes
        stored = {weight.name for weight in model.graph.initializer}
        # What reads nothing but constants is computed where it is wanted: its constants may change.
        self._constants: dict[str, onnx.NodeProto] = {}
        self._waiting: dict[str, onnx.NodeProto] = {}  # by name, in the model's order
        self._nodes: dict[str, onnx.NodeProto] = {}  # those that are no constants
        for node in model.graph.node:
            read = [name for name in node.input if name]
            if all(name in stored or name in self._constants for name in read):
                self._constants |= dict.fromkeys(node.output, node)
            else:
                self._nodes[node.name] = node
        self._waiting = dict(self._nodes)
        self._makers = {out: node.name for node in self._nodes.values() for out in node.output}
        steps = step_calls(model, calls, optimize=optimize)
        self._values: dict[str, Values] = {
            name: [call[name] for call in steps] for name in (steps[0] if steps else {})
        }
        self._calls = len(steps)
        self._outputs = {value.name for value in model.graph.output}

    def before(self, node: str, tensor: str) -> Values:
        """What a node reads by this name; all that lies before the node is computed."""
        self._advance(node)
        return self._values[tensor]

    def of(self, node: str, given: Mapping[str, Values] | None = None) -> Values:
        """What a node gives; all that lies before it is computed, and the node itself once more
        when something behind it is asked for.

        Args:
            given: what it reads by these names instead.
        """
        self._advance(node)
        values = {**self._values, **(given or {})}
        found = self._nodes[node]
        (output,) = self._run([found], [found.output[0]], values)
        return output

    def _advance(self, node: str) -> None:
        """Compute all nodes that lead to this one and are still to come."""
        needed: set[str] = set()
        open_ends = [node]
        while open_ends:
            for name in self._nodes[open_ends.pop()].input:
                maker = self._makers.get(name)
                if maker in self._waiting and maker not in needed:
                    needed.add(maker)
                    open_ends.append(maker)
        nodes = [each for name, each in self._waiting.items() if name in needed]
        self._waiting = {n: each for n, each in self._waiting.items() if n not in needed}
        kept = {name for each in self._waiting.values() for name in each.input} | self._outputs
        if nodes:
            made = [out for each in nodes for out in each.output if out and out in kept]
            for name, values in zip(made, self._run(nodes, made, self._values), strict=True):
                self._values[name] = values
        self._values = {name: values for name, values in self._values.items() if name in kept}

    def _run(
        self, nodes: "Sequence[onnx.NodeProto]", wanted: list[str], values: Mapping[str, Values]
    ) -> list[Values]:
        if not wanted:
            return []
        piece, taken = self._piece(nodes, wanted, values)
        session = Session(piece, optimize=self._optimize)
        results: list[Values] = [[] for _ in wanted]
        for call in range(self._calls):
            given = {name: values[name][call] for name in taken}
            for kept, array in zip(results, session(given, wanted), strict=True):
                kept.append(array)
        return results

    def _piece(
        self, nodes: "Sequence[onnx.NodeProto]", wanted: Sequence[str], values: Mapping[str, Values]
    ) -> "tuple[onnx.ModelProto, list[str]]":
        """A model of these nodes, and the names of what it takes."""
        import onnx

        needed = {name for node in nodes for name in node.input if name}
        folded: dict[str, onnx.NodeProto] = {}
        waiting = [name for name in needed if name in self._constants]
        while waiting:
            node = self._constants[waiting.pop()]
            if node.name not in folded:
                folded[node.name] = node
                needed |= set(node.input)
                waiting += [name for name in node.input if name in self._constants]
        first = [node for node in self._constants.values() if node.name in folded]
        once = {node.name: node for node in first}
        made = {out for node in nodes for out in node.output}
        taken = sorted(name for name in needed if name in values and name not in made)
        graph = onnx.helper.make_graph(
            [*once.values(), *nodes],
            "piece",
            [_value(name, self._types[name]) for name in taken],
            [_value(name, self._types[name]) for name in wanted],
            [weight for weight in self._model.graph.initializer if weight.name in needed],
        )
        return (
            onnx.helper.make_model(
                graph,
                opset_imports=self._model.opset_import,
                ir_version=self._model.ir_version,
                functions=self._model.functions,
            ),
            taken,
        )


def _value(name: str, dtype: str) -> "onnx.ValueInfoProto":
    """A tensor of any shape."""
    import onnx

    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return onnx.helper.make_tensor_value_info(name, kind, None)
