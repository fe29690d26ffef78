"""The operands of a concatenation are written where its result lies."""

from pathlib import Path

import pytest

from edgekiln.compiler.ir.tensor import Part
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
)
from tests.compiler.qdq_models import QdqModel


def fire(m: QdqModel, channels: tuple[int, int], scale: float = 0.5) -> str:
    """Two convolutions side by side, concatenated; the second with its own scale."""
    x = m.q(m.input("x", 1, 8, 5, 6))
    a = m.q(m.conv(x, channels[0], 8, 1, 1, out="a"), scale=0.5, zero=1)
    b = m.q(m.conv(x, channels[1], 8, 3, 3, out="b", pads=[1, 1, 1, 1]), scale=scale, zero=1)
    joined = m.q(m.op("Concat", a, b, out="joined", axis=1), scale=0.5, zero=1)
    return m.q(m.conv(joined, 4, sum(channels), 1, 1, out="y"), scale=2.0)


def test_the_operands_of_a_concat_are_written_where_its_result_lies(tmp_path: Path) -> None:
    m = QdqModel()
    graph = before("concat_in_place", m.save(tmp_path / "m.onnx", fire(m, (64, 128))))
    assert_changes_once("concat_in_place", graph)
    assert "concat" not in kinds(graph)
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
    path = m.save(tmp_path / "m.onnx", fire(m, channels, scale))
    graph = before("concat_in_place", path)
    assert_leaves_alone("concat_in_place", graph)
    assert "concat" in kinds(graph)
