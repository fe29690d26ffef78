"""Which float operators become kernels of our own, and what joins what."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.passes.pipeline import lower_graph
from tests.compiler import float_models


def lowered(tmp_path: Path, model: onnx.ModelProto) -> Graph:
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    graph = import_onnx(path)
    assert lower_graph(graph, "uint8") == []
    return graph


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_a_residual_network_is_convolutions_and_little_else(tmp_path: Path) -> None:
    graph = lowered(tmp_path, float_models.residual())
    assert ops(graph) == [
        "transpose", "conv2d", "conv2d", "global_avg_pool", "reshape", "dense"
    ]  # fmt: skip
    _, first, second, *_ = graph.nodes
    assert (first.attrs["lo"], first.attrs["hi"]) == (0.0, np.inf)
    assert second.inputs == ("ra", "ra")
    assert (second.attrs["own_lo"], second.attrs["lo"]) == (-np.inf, 0.0)
    assert graph.tensors["ra"].layout == "NHWC"
    assert graph.tensors["ra"].halo.top == 1


@pytest.mark.parametrize(
    "body",
    [
        "g = Sigmoid (c)\n y = Mul (c, g)",
        "y = HardSwish (c)",
        "y = Gelu (c)",
        "q = Div (c, two)\n e = Erf (q)\n a = Add (e, one)\n m = Mul (c, a)\n y = Mul (m, half)",
    ],
)
def test_a_function_of_one_value_joins_the_convolution(tmp_path: Path, body: str) -> None:
    constants = {"two": 2.0, "one": 1.0, "half": 0.5}
    model = float_models.make(
        f"c = Conv (x, w)\n {body}\n",
        {"w": (8, 3, 1, 1)},
        y="N, 8, 32, 32",
        constants={name: np.array(value, np.float32) for name, value in constants.items()},
    )
    graph = lowered(tmp_path, model)
    assert ops(graph) == ["transpose", "conv2d", "transpose"]
    assert graph.nodes[1].attrs["function"]


def test_a_bias_joins_its_product_and_a_factor_comes_before_the_moves(tmp_path: Path) -> None:
    model = float_models.make(
        "m = MatMul (x, w)\n a = Add (b, m)\n r = Reshape (a, shape)\n"
        "t = Transpose <perm = [0, 2, 1, 3]> (r)\n y = Mul (t, half)\n",
        {"w": (6, 8), "b": (8,)},
        x="1, 5, 6",
        y="1, 2, 5, 4",
        constants={
            "shape": np.array([1, 5, 2, 4]),
            "half": np.array(0.5, np.float32),
        },
    )
    graph = lowered(tmp_path, model)
    assert ops(graph) == ["dense", "reshape", "transpose"]
    dense = graph.nodes[0]
    assert dense.attrs["function"]
    assert dense.attrs["bias"].any()
    assert dense.name == "a:function"  # not ONNX's value: nothing is compared with it
    assert graph.outputs == ["y"]


def test_an_operator_without_a_kernel_is_an_island_between_kernels(tmp_path: Path) -> None:
    model = float_models.make(
        "c = Conv (x, w)\n s = CumSum (c, axis)\n y = Conv (s, w)\n",
        {"w": (3, 3, 1, 1)},
        y="N, 3, 32, 32",
        constants={"axis": np.array(1)},
    )
    graph = lowered(tmp_path, model)
    assert ops(graph) == [
        "transpose", "conv2d", "transpose", "float", "transpose", "conv2d", "transpose"
    ]  # fmt: skip
    island: Any = graph.nodes[3]
    assert island.reason == "CumSum: CumSum has no float kernel"


def test_an_island_reads_copies_of_images_in_onnx_order(tmp_path: Path) -> None:
    """And names them so inside: the program's input, which a convolution reads too."""
    model = float_models.make(
        "c = Conv (x, w)\n s = Sub (x, c)\n y = Conv (s, w)\n",
        {"w": (3, 3, 1, 1)},
        y="N, 3, 32, 32",
    )
    graph = lowered(tmp_path, model)
    (island,) = (node for node in graph.nodes if node.op == "float")
    (inner,) = island.attrs["nodes"]
    assert (inner.inputs, inner.outputs) == (island.inputs, island.outputs)
    assert {graph.tensors[name].layout for name in island.inputs} == {"plain"}


def test_a_batch_norm_joins_the_convolution_before_it_or_is_one(tmp_path: Path) -> None:
    model = float_models.make(
        "c = Conv (x, w)\n n = BatchNormalization (c, g, b, m, v)\n r = Relu (n)\n"
        "y = BatchNormalization (r, g, b, m, v)\n",
        {"w": (8, 3, 1, 1), "g": (8,), "b": (8,), "m": (8,)},
        y="N, 8, 32, 32",
        constants={"v": np.linspace(0.5, 2, 8, dtype=np.float32)},
    )
    graph = lowered(tmp_path, model)
    assert ops(graph) == ["transpose", "conv2d", "conv2d", "transpose"]
    first, second = graph.nodes[1:3]
    assert (first.name, first.attrs["lo"]) == ("r", 0.0)
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    slope = weights["g"] / np.sqrt(weights["v"] + 1e-5)
    scaled = weights["w"] * slope.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(first.attrs["weight"], scaled, rtol=1e-6)
    np.testing.assert_allclose(second.attrs["weight"].reshape(-1), slope, rtol=1e-6)
    np.testing.assert_allclose(
        second.attrs["bias"], weights["b"] - weights["m"] * slope, rtol=1e-5, atol=1e-6
    )
