"""Concat, channel shuffle and split are interleaving copies."""

from pathlib import Path

import pytest

from edgekiln.compiler.ir.moves import Interleave
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    every,
    kinds,
    only,
)
from tests.compiler.qdq_models import QdqModel


def shuffle(
    m: QdqModel, x: str, shape: tuple[int, ...], perm: tuple[int, ...] = (0, 2, 1, 3, 4)
) -> str:
    n, c, h, w = shape
    split = m.op("Reshape", x, m.const([n, 2, c // 2, h, w], "int64"), out=f"{x}_split")
    swap = m.op("Transpose", split, out=f"{x}_swap", perm=perm)
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
    graph = before("fuse_shuffle", m.save(tmp_path / "m.onnx", *shuffle_unit(m, scale)))
    assert_changes_once("fuse_shuffle", graph)
    copies = [node for node in graph.nodes if isinstance(node.op, Interleave)]
    assert [node.inputs for node in copies] == [("a_q", "b_q")] * 2
    assert [op.starts for op in every(graph, Interleave)] == [(0, 0), (3, 3)]
    assert all((op.finish is None) == (scale == 0.5) for op in every(graph, Interleave))
    assert set(kinds(graph)) == {"quantize", "conv2d", "interleave", "dequantize"}


def test_a_shuffle_of_one_image_takes_its_groups_in_turn(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 12, 4, 5))
    a = m.q(m.conv(x, 12, 12, 1, 1, out="a"))
    y = m.q(m.conv(shuffle(m, a, (1, 12, 4, 5)), 4, 12, 1, 1, out="y"))
    graph = before("fuse_shuffle", m.save(tmp_path / "m.onnx", y))
    assert_changes_once("fuse_shuffle", graph)
    assert only(graph, Interleave).starts == (0, 6)


def test_another_permutation_is_no_shuffle(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 12, 4, 4))
    y = m.q(shuffle(m, x, (1, 12, 4, 4), perm=(0, 2, 1, 4, 3)))
    path = m.save(tmp_path / "m.onnx", y)
    assert_leaves_alone("fuse_shuffle", before("fuse_shuffle", path))
