"""A graph that cannot be right is told, with the name of what is wrong."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgekiln.compiler.ir.codes import IntFinish, Quant, Table
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.moves import Requantize, Reshape
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import Onnx, Subgraph
from edgekiln.compiler.ir.ops import Dequantize, Lookup, Quantize
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.ir.validate import faults

CODES = Quant(scale=0.5, zero_point=3)


def sound() -> Graph:
    """quantize → requantize → dequantize."""
    graph = Graph(
        inputs=["x"],
        outputs=["y"],
        nodes=[
            Node(op=Quantize(), inputs=("x",), outputs=("a",)),
            Node(op=Requantize(), inputs=("a",), outputs=("b",)),
            Node(op=Dequantize(), inputs=("b",), outputs=("y",)),
        ],
        tensors={},
        constants={},
    )
    for name in "xy":
        graph.put(Tensor(name=name, shape=(2, 3), dtype="float32"))
    for name in "ab":
        graph.put(Tensor(name=name, shape=(2, 3), dtype="int8", quant=CODES))
    return graph


def swap(graph: Graph) -> None:
    graph.nodes = [graph.nodes[1], graph.nodes[0], graph.nodes[2]]


def make_twice(graph: Graph) -> None:
    graph.nodes.append(replace(graph.nodes[1]))


def forget_the_writer(graph: Graph) -> None:
    graph.nodes.pop()


def leave_a_tensor(graph: Graph) -> None:
    graph.put(Tensor(name="old", shape=(1,), dtype="float32"))


def drop_a_type(graph: Graph) -> None:
    del graph.tensors["b"]


def drop_a_quantization(graph: Graph) -> None:
    graph.put(replace(graph.tensors["b"], quant=None))


def reshape_wrongly(graph: Graph) -> None:
    graph.put(replace(graph.tensors["b"], shape=(3, 3)))


def move_to_another_quantization(graph: Graph) -> None:
    graph.put(replace(graph.tensors["b"], dtype="uint8"))
    graph.nodes[1] = replace(graph.nodes[1], op=Reshape())


def clip_wrongly(graph: Graph) -> None:
    op = Requantize(finish=IntFinish(qmin=0, qmax=255))
    graph.nodes[1] = replace(graph.nodes[1], op=op)


def look_up_wrongly(graph: Graph) -> None:
    op = Lookup(table=Table(entries=np.zeros(256, np.uint8)))
    graph.nodes[1] = replace(graph.nodes[1], op=op)


def make_nothing_inside(graph: Graph) -> None:
    inner = Node(op=Onnx(op_type="Sin"), inputs=("b",), outputs=("z",))
    graph.nodes[2] = replace(graph.nodes[2], op=Subgraph(nodes=(inner,)))


def test_a_sound_graph_has_no_fault() -> None:
    assert faults(sound()) == []


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (swap, "b: reads 'a', which nothing before it makes"),
        (make_twice, "b: makes 'b', which is there already"),
        (forget_the_writer, "y: an output that no node makes"),
        (leave_a_tensor, "old: a tensor that no node names"),
        (drop_a_type, "b: 'b' has no type"),
        (drop_a_quantization, "b: codes without a quantization"),
        (reshape_wrongly, "b: requantize: b (int8[3, 3]) is not shaped like a (int8[2, 3])"),
        (move_to_another_quantization, "b: reshape: a (int8[2, 3]) is not b (uint8[2, 3])"),
        (clip_wrongly, "b: requantize makes codes 0..255 of int8"),
        (look_up_wrongly, "b: lookup: a table of uint8[256] makes b (int8[2, 3])"),
        (make_nothing_inside, "y: fallback: nothing inside makes y"),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[Graph], None], fault: str) -> None:
    graph = sound()
    spoil(graph)
    assert fault in faults(graph)
