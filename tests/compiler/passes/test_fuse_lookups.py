"""Several operations become one, with the same bits."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.ir.graph import Graph, Part
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.passes.pipeline import lower_graph
from tests.compiler.qdq_models import QdqModel


def lowered(path: Path) -> Graph:
    graph = import_onnx(path)
    lower_graph(graph, "int8")
    return graph


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def hard_swish(m: QdqModel, x: str) -> str:
    """As exporters and the quantizer leave it: a gate with its own quantization, a product."""
    gate = m.q(m.op("HardSigmoid", x, out=f"{x}_gate", alpha=1 / 6, beta=0.5), 1 / 255, -128)
    return m.q(m.op("Mul", x, gate, out=f"{x}_hs"), 0.031, -120)


def test_hard_swish_is_one_table(tmp_path: Path) -> None:
    m = QdqModel()
    y = hard_swish(m, m.q(m.input("x", 1, 16), scale=0.05, zero=3))
    graph = lowered(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "table", "dequantize"]
    codes = np.arange(-128, 128)
    real = (codes - 3) * 0.05
    swish = real * np.clip(real / 6 + 0.5, 0, 1)
    expected = np.clip(np.rint(swish / 0.031) - 120, -128, 127)
    assert np.abs(graph.nodes[1].attrs["table"] - expected).max() <= 1  # the gate's own rounding


def test_a_table_behind_a_table_is_one_table(tmp_path: Path) -> None:
    m = QdqModel()
    once = m.q(m.op("Tanh", m.q(m.input("x", 1, 16)), out="once"), 0.01, 0)
    y = m.q(m.op("Sigmoid", once, out="twice"), 1 / 255, -128)
    graph = lowered(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "table", "dequantize"]


def test_a_product_with_one_number_is_one_table(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 5, 16), scale=0.05, zero=3)
    quant = m.const(0.01, "float32"), m.const(-128, "int8")
    factor = m.op("DequantizeLinear", m.const([-80], "int8"), *quant, out="factor")
    y = m.q(m.op("Mul", factor, x, out="scaled"), scale=0.02, zero=-7)
    graph = lowered(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "table", "dequantize"]
    codes = np.arange(-128, 128)
    expected = np.clip(np.rint((codes - 3) * 0.05 * 0.48 / 0.02) - 7, -128, 127)
    assert np.array_equal(graph.nodes[1].attrs["table"], expected)


def test_a_product_of_two_values_stays_a_product(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 4, 3, 3))
    pool = m.q(m.op("GlobalAveragePool", x, out="pool"))
    gate = m.q(m.op("Sigmoid", pool, out="gate"), 1 / 255, -128)
    y = m.q(m.op("Mul", x, gate, out="y"))
    graph = lowered(m.save(tmp_path / "m.onnx", y))
    assert ops(graph) == ["quantize", "global_avg_pool", "table", "mul", "dequantize"]


def shuffle(m: QdqModel, x: str, shape: tuple[int, ...]) -> str:
    n, c, h, w = shape
    split = m.op("Reshape", x, m.const([n, 2, c // 2, h, w], "int64"), out=f"{x}_split")
    swap = m.op("Transpose", split, out=f"{x}_swap", perm=[0, 2, 1, 3, 4])
    return m.op("Reshape", swap, m.const([n, c, h, w], "int64"), out=f"{x}_shuffled")


def shuffle_unit(m: QdqModel, scale: float = 0.5) -> tuple[str, str]:
    """Concat, shuffle, split: between two units of a ShuffleNetV2; the second operand with its own
    scale.
    """
    x = m.q(m.input("x", 1, 6, 4, 5), scale=0.05, zero=3)
    a = m.q(m.conv(x, 6, 6, 1, 1, out="a"), scale=0.5, zero=1)
    b = m.q(m.conv(x, 6, 6, 1, 1, out="b"), scale=scale, zero=1)
    joined = m.q(m.op("Concat", a, b, out="joined", axis=1), scale=0.5, zero=1)
    mixed = shuffle(m, joined, (1, 12, 4, 5))
    halves = (
        m.op(
            "Slice", mixed, m.const([start], "int64"), m.const([start + 6], "int64"),
            m.const([1], "int64"), out=f"half{start}",
        )
        for start in (0, 6)
    )  # fmt: skip
    left, right = halves
    return (
        m.q(m.conv(left, 4, 6, 1, 1, out="y"), scale=2.0),
        m.q(m.conv(right, 4, 6, 1, 1, out="z"), scale=2.0),
    )


@pytest.mark.parametrize("scale", [0.5, 0.125], ids=["one scale", "two scales"])
def test_concat_shuffle_and_split_are_one_copy_for_each_half(tmp_path: Path, scale: float) -> None:
    m = QdqModel()
    graph = lowered(m.save(tmp_path / "m.onnx", *shuffle_unit(m, scale)))
    copies = [node for node in graph.nodes if node.op == "interleave"]
    assert [node.inputs for node in copies] == [("a_q", "b_q")] * 2
    assert [node.attrs["starts"] for node in copies] == [(0, 0), (3, 3)]
    kept = {"quantize", "conv2d", "interleave", "dequantize"}
    assert set(ops(graph)) == kept


def test_a_shuffle_of_one_image_takes_its_groups_in_turn(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 12, 4, 5))
    a = m.q(m.conv(x, 12, 12, 1, 1, out="a"))
    y = m.q(m.conv(shuffle(m, a, (1, 12, 4, 5)), 4, 12, 1, 1, out="y"))
    graph = lowered(m.save(tmp_path / "m.onnx", y))
    (copy,) = (node for node in graph.nodes if node.op == "interleave")
    assert copy.inputs == ("a_q", "a_q")
    assert copy.attrs["starts"] == (0, 6)


def test_the_mean_of_the_tokens_is_an_integer_pool(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 5, 16))
    mean = m.op("ReduceMean", x, m.const([1], "int64"), out="mean", keepdims=0)
    graph = lowered(m.save(tmp_path / "m.onnx", m.q(mean)))
    assert ops(graph)[:2] == ["quantize", "global_avg_pool"]
    assert "float" not in ops(graph)


def fire(m: QdqModel, channels: tuple[int, int], scale: float = 0.5) -> str:
    """Two convolutions side by side, concatenated; the second with its own scale."""
    x = m.q(m.input("x", 1, 8, 5, 6))
    a = m.q(m.conv(x, channels[0], 8, 1, 1, out="a"), scale=0.5, zero=1)
    b = m.q(m.conv(x, channels[1], 8, 3, 3, out="b", pads=[1, 1, 1, 1]), scale=scale, zero=1)
    joined = m.q(m.op("Concat", a, b, out="joined", axis=1), scale=0.5, zero=1)
    return m.q(m.conv(joined, 4, sum(channels), 1, 1, out="y"), scale=2.0)


def test_the_operands_of_a_concat_are_written_where_its_result_lies(tmp_path: Path) -> None:
    m = QdqModel()
    graph = lowered(m.save(tmp_path / "m.onnx", fire(m, (64, 128))))
    assert "concat" not in ops(graph)
    parts = [graph.tensors[name].part for name in ("a_q", "b_q")]
    assert parts == [
        Part(whole="joined_q", start=0, channels=192, completes=False),
        Part(whole="joined_q", start=64, channels=192, completes=True),
    ]


@pytest.mark.parametrize(
    ("channels", "scale"), [((32, 64), 0.5), ((64, 64), 0.25)], ids=["unaligned", "other scale"]
)
def test_operands_that_cannot_lie_there_are_copied(
    tmp_path: Path, channels: tuple[int, int], scale: float
) -> None:
    m = QdqModel()
    graph = lowered(m.save(tmp_path / "m.onnx", fire(m, channels, scale)))
    assert "concat" in ops(graph)
