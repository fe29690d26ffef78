"""The graph: what the passes transform, between ONNX and kernels.

Nodes are in topological order; every tensor has one producer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.tensor import Tensor


@dataclass(frozen=True, kw_only=True)
class StatePair:
    """What the program remembers: one of the graph's inputs and the output that becomes it in the
    next call. Passes may rename both; `name` and `next_name` stay the model's own.
    """

    name: str
    next_name: str
    input: str
    output: str


@dataclass
class Graph:
    """Mutable; passes rewrite it in place and say whether they did."""

    inputs: list[str]
    outputs: list[str]
    nodes: list[Node]
    tensors: dict[str, Tensor]
    constants: dict[str, NDArray[np.generic]]
    opset: int = 0
    states: list[StatePair] = field(default_factory=list)

    def producers(self) -> dict[str, Node]:
        """Tensor → the node that makes it."""
        return {out: node for node in self.nodes for out in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Tensor → the nodes that read it, in their order, each once."""
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.inputs)):
                users.setdefault(name, []).append(node)
        return users

    def given(self) -> list[str]:
        """The inputs that a call is given: those that are no state."""
        kept = {state.input for state in self.states}
        return [name for name in self.inputs if name not in kept]

    def returned(self) -> list[str]:
        """The outputs that a call gives back: those that are no state."""
        kept = {state.output for state in self.states}
        return [name for name in self.outputs if name not in kept]

    def completes(self, node: Node) -> list[str]:
        """Concatenations of which nothing is missing any more when a node has made its part."""
        parts = [self.tensors[name].part for name in node.outputs if name in self.tensors]
        return [part.whole for part in parts if part is not None and part.completes]

    def put(self, tensor: Tensor) -> Tensor:
        """Add a tensor, or replace the one of its name."""
        self.tensors[tensor.name] = tensor
        return tensor

    def insert_edge(self, name: str, inner: Tensor, op: Op) -> None:
        """Let the graph work on `inner` and convert to it by `op` from (or from it to) a program's
        input (or output) `name`.
        """
        self.put(inner)
        # Nodes that made or read the edge itself now make or read what lies inside of it.
        self.nodes = [node.renamed({name: inner.name}) for node in self.nodes]
        if name in self.inputs:
            # At either end of the list, so that the order stays topological.
            self.nodes.insert(0, Node(op=op, inputs=(name,), outputs=(inner.name,)))
        else:
            self.nodes.append(Node(op=op, inputs=(inner.name,), outputs=(name,)))

    def arrays(self, names: Iterable[str]) -> Iterator[Tensor]:
        """Those that kernels of our own work on: quantized or float32."""
        for name in names:
            tensor = self.tensors.get(name)
            if tensor is not None and tensor.is_array:
                yield tensor

    def quantized(self, names: Iterable[str]) -> Iterator[Tensor]:
        """Those of the tensors that hold codes."""
        for tensor in self.arrays(names):
            if tensor.quant is not None:
                yield tensor
