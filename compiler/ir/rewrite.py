"""What passes rewrite graphs with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Concatenate, ParamSpec

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.tensor import Tensor

P = ParamSpec("P")

# Rewrites in place and says whether it changed anything.
Pass = Callable[[Graph], bool]


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """All that a pass may change. It holds what it saw, so that no identity is used twice."""

    edges: tuple[list[str], list[str]]
    nodes: list[Node]  # nodes are equal only to themselves
    tensors: dict[str, Tensor]
    constants: dict[str, NDArray[np.generic]]

    @classmethod
    def of(cls, graph: Graph) -> "_State":
        return cls(
            edges=(list(graph.inputs), list(graph.outputs)),
            nodes=list(graph.nodes),
            tensors=dict(graph.tensors),
            constants=dict(graph.constants),
        )

    def differs(self, graph: Graph) -> bool:
        return (
            (graph.inputs, graph.outputs) != self.edges
            or graph.nodes != self.nodes
            or graph.tensors != self.tensors
            # By identity: comparing all weights after each pass would take longer than the pass.
            or {name: id(array) for name, array in graph.constants.items()}
            != {name: id(array) for name, array in self.constants.items()}
        )


def graph_pass(
    rewrite: Callable[Concatenate[Graph, P], None],
) -> Callable[Concatenate[Graph, P], bool]:
    """A pass of a function that rewrites in place, and leaves the nodes that stay as they are."""

    def run(graph: Graph, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        before = _State.of(graph)
        rewrite(graph, *args, **kwargs)
        return before.differs(graph)

    update_wrapper(run, rewrite)
    return run


def schedule(
    graph: Graph, nodes: Sequence[Node], prefer: Callable[[Node], bool] = lambda _: False
) -> list[Node]:
    """Topological order that keeps the given order, but runs nodes of a kind together.

    Once a node that `prefer` accepts is due, every accepted node that is ready follows.
    """
    ready = {*graph.inputs, *graph.constants, ""}
    waiting = list(nodes)
    ordered: list[Node] = []
    while waiting:
        # Each turn looks at all that wait: O(n²) for n nodes, of which networks have hundreds.
        due = [node for node in waiting if ready.issuperset(node.inputs)]
        assert due, [node.name for node in waiting]
        # As long as the last one was of the kind, the next one of it goes before all others.
        together = bool(ordered) and prefer(ordered[-1])
        node = next((node for node in due if together and prefer(node)), due[0])
        waiting.remove(node)
        ordered.append(node)
        ready.update((*node.outputs, *graph.completes(node)))
    return ordered


def remove_unused(graph: Graph) -> None:
    """Drop nodes that no output needs, then the tensors and constants that no node names."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed & {*node.outputs, *_wholes(graph, node)}:
            kept.append(node)
            needed.update(node.inputs)
    graph.nodes = kept[::-1]
    # Results that nobody reads are still written by the node that makes them.
    names = needed | {name for node in graph.nodes for name in node.outputs} | set(graph.inputs)
    graph.tensors = {name: t for name, t in graph.tensors.items() if name in names}
    graph.constants = {name: c for name, c in graph.constants.items() if name in names}


def _wholes(graph: Graph, node: Node) -> set[str]:
    """The concatenations that a node's results are parts of."""
    tensors = (graph.tensors[name] for name in node.outputs if name in graph.tensors)
    return {tensor.part.whole for tensor in tensors if tensor.part}
