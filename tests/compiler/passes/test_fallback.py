"""Operators without a kernel of ours are gathered into subgraphs."""

from pathlib import Path

import numpy as np

from edgekiln.compiler.ir.onnx_op import Subgraph
from tests.compiler import float_models
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    lowered,
    only,
)


def test_an_operator_without_a_kernel_is_a_subgraph_between_kernels(tmp_path: Path) -> None:
    model = float_models.make(
        "c = Conv (x, w)\n s = CumSum (c, axis)\n y = Conv (s, w)\n",
        {"w": (3, 3, 1, 1)},
        y="N, 3, 32, 32",
        constants={"axis": np.array(1)},
    )
    graph = lowered(float_models.write(model, tmp_path / "m.onnx"))
    assert kinds(graph) == [
        "transpose", "conv2d", "transpose", "fallback", "transpose", "conv2d", "transpose"
    ]  # fmt: skip
    assert graph.nodes[3].reason == "CumSum: CumSum has no float kernel"


def test_neighbours_are_one_subgraph(tmp_path: Path) -> None:
    model = float_models.make(
        "a = CumSum (x, axis)\n b = Hardmax (a)\n c = Hardmax (x)\n y = Sub (b, c)\n",
        {},
        y="N, 3, 32, 32",
        constants={"axis": np.array(1)},
    )
    graph = before("fallback_subgraphs", float_models.write(model, tmp_path / "m.onnx"))
    assert_changes_once("fallback_subgraphs", graph)
    (node,) = graph.nodes
    assert (node.inputs, node.outputs) == (("x",), ("y",))
    assert [inner.op.kind for inner in only(graph, Subgraph).nodes] == [
        "CumSum",
        "Hardmax",
        "Hardmax",
        "Sub",
    ]


def test_a_graph_of_our_kernels_has_none(tmp_path: Path) -> None:
    path = float_models.write(float_models.residual(), tmp_path / "m.onnx")
    assert_leaves_alone("fallback_subgraphs", before("fallback_subgraphs", path))


def test_a_subgraph_reads_copies_of_images_in_onnx_order(tmp_path: Path) -> None:
    """And names them so inside: the program's input, which a convolution reads too."""
    model = float_models.make(
        "c = Conv (x, w)\n s = Sub (x, c)\n y = Conv (s, w)\n",
        {"w": (3, 3, 1, 1)},
        y="N, 3, 32, 32",
    )
    graph = lowered(float_models.write(model, tmp_path / "m.onnx"))
    (node,) = (node for node in graph.nodes if isinstance(node.op, Subgraph))
    (inner,) = only(graph, Subgraph).nodes
    assert (inner.inputs, inner.outputs) == (node.inputs, node.outputs)
    assert {graph.tensors[name].layout for name in node.inputs} == {"plain"}
