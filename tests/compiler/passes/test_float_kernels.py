"""Which float operators become kernels of our own, and which stay ONNX's."""

from pathlib import Path

import numpy as np
import onnx

from edgekiln.compiler.ir.codes import FloatFinish
from edgekiln.compiler.ir.linear import Conv2d
from edgekiln.compiler.passes.pipeline import lower_graph
from tests.compiler import float_models
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    every,
    kinds,
)
from tests.compiler.qdq_models import QdqModel


def test_a_residual_network_is_convolutions_and_little_else(tmp_path: Path) -> None:
    path = float_models.write(float_models.residual(), tmp_path / "m.onnx")
    graph = before("float_kernels", path)
    assert lower_graph(graph, "uint8") == []
    assert kinds(graph) == [
        "transpose", "conv2d", "conv2d", "global_avg_pool", "reshape", "dense"
    ]  # fmt: skip
    first, second = every(graph, Conv2d)
    assert first.finish == FloatFinish(low=0.0)
    assert graph.nodes[2].inputs == ("ra", "ra")
    assert second.finish == FloatFinish(low=0.0)
    assert second.residual is not None
    assert second.residual.conv_finish == FloatFinish()
    assert graph.tensors["ra"].layout == "NHWC"
    assert graph.tensors["ra"].halo.top == 1


def test_floats_are_rewritten_once(tmp_path: Path) -> None:
    path = float_models.write(float_models.residual(), tmp_path / "m.onnx")
    graph = before("float_kernels", path)
    assert_changes_once("float_kernels", graph)
    assert kinds(graph) == [
        "conv2d", "conv2d", "add", "global_avg_pool", "reshape", "dense"
    ]  # fmt: skip


def test_a_graph_of_integers_is_left_alone(tmp_path: Path) -> None:
    m = QdqModel()
    y = m.q(m.conv(m.q(m.input("x", 1, 3, 8, 8)), 4, 3, 3, 3, out="y"))
    path = m.save(tmp_path / "m.onnx", y)
    assert_leaves_alone("float_kernels", before("float_kernels", path))


def test_what_has_no_kernel_stays_onnx_with_the_reason(tmp_path: Path) -> None:
    model = float_models.make(
        "y = CumSum (x, axis)\n", {}, y="N, 3, 32, 32", constants={"axis": np.array(1)}
    )
    graph = before("float_kernels", float_models.write(model, tmp_path / "m.onnx"))
    assert_changes_once("float_kernels", graph)  # the reason is new
    assert [(node.op.kind, node.reason) for node in graph.nodes] == [
        ("CumSum", "CumSum has no float kernel")
    ]


def test_a_batch_norm_joins_the_convolution_before_it_or_is_one(tmp_path: Path) -> None:
    model = float_models.make(
        "c = Conv (x, w)\n n = BatchNormalization (c, g, b, m, v)\n r = Relu (n)\n"
        "y = BatchNormalization (r, g, b, m, v)\n",
        {"w": (8, 3, 1, 1), "g": (8,), "b": (8,), "m": (8,)},
        y="N, 8, 32, 32",
        constants={"v": np.linspace(0.5, 2, 8, dtype=np.float32)},
    )
    graph = before("float_kernels", float_models.write(model, tmp_path / "m.onnx"))
    assert_changes_once("float_kernels", graph)
    assert kinds(graph) == ["conv2d", "conv2d"]
    first, second = every(graph, Conv2d)
    assert (graph.nodes[0].name, first.finish) == ("r", FloatFinish(low=0.0))
    weights = {
        w.name: onnx.numpy_helper.to_array(w).astype(np.float64) for w in model.graph.initializer
    }
    slope = weights["g"] / np.sqrt(weights["v"] + 1e-5)
    scaled = weights["w"] * slope.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(first.weight.astype(np.float64), scaled, rtol=1e-6)
    np.testing.assert_allclose(second.weight.reshape(-1).astype(np.float64), slope, rtol=1e-6)
    offset = weights["b"] - weights["m"] * slope
    np.testing.assert_allclose(second.bias.astype(np.float64), offset, rtol=1e-5, atol=1e-6)


def test_a_batch_norm_behind_a_bound_from_above_is_a_convolution_of_its_own(
    tmp_path: Path,
) -> None:
    model = float_models.make(
        "c = Conv (x, w)\n m6 = Clip (c, , six)\n y = BatchNormalization (m6, g, b, m, v)\n",
        {"w": (8, 3, 1, 1), "g": (8,), "b": (8,), "m": (8,)},
        y="N, 8, 32, 32",
        constants={
            "v": np.ones(8, np.float32),
            "six": np.array(6, np.float32),
        },
    )
    graph = before("float_kernels", float_models.write(model, tmp_path / "m.onnx"))
    assert_changes_once("float_kernels", graph)
    assert kinds(graph) == ["conv2d", "conv2d"]
