"""Graphs on their way through the pipeline."""

from pathlib import Path
from typing import TypeVar

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.printer import printed
from edgekiln.compiler.passes.pipeline import PASSES, PassSettings, lower_graph

T = TypeVar("T", bound=Op)

INT8 = PassSettings(activation="int8")


def before(name: str, path: Path, settings: PassSettings = INT8) -> Graph:
    """A model as the pass of this name is given it."""
    graph = import_onnx(path)
    for entry in PASSES:
        if entry.name == name:
            return graph
        if entry.when(settings):
            entry.run(graph)
    raise AssertionError(name)


def apply(name: str, graph: Graph) -> bool:
    """Run the pass of this name: whether it changed anything."""
    (entry,) = (entry for entry in PASSES if entry.name == name)
    return entry.run(graph)


def lowered(path: Path, activation: str = "int8") -> Graph:
    """A model after all passes."""
    graph = import_onnx(path)
    lower_graph(graph, activation)
    return graph


def kinds(graph: Graph) -> list[str]:
    return [node.op.kind for node in graph.nodes]


def only(graph: Graph, kind: type[T]) -> T:
    """The one operation of a kind."""
    (found,) = every(graph, kind)
    return found


def every(graph: Graph, kind: type[T]) -> list[T]:
    return [node.op for node in graph.nodes if isinstance(node.op, kind)]


def assert_changes_once(name: str, graph: Graph) -> None:
    """The pass changes the graph, and finds nothing more to do after that."""
    assert apply(name, graph)
    text = printed(graph)
    assert not apply(name, graph)
    assert printed(graph) == text


def assert_leaves_alone(name: str, graph: Graph) -> None:
    text = printed(graph)
    assert not apply(name, graph)
    assert printed(graph) == text
