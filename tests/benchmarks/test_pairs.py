import sys
from pathlib import Path

import numpy as np
import pytest

from edgekiln.benchmarks import pairs
from edgekiln.compiler.passes.pipeline import lowered
from edgekiln.targets import profile
from tests.compiler.qdq_models import QdqModel


def stored(m: QdqModel, values: np.ndarray) -> str:
    """A dequantized constant with one scale a channel."""
    codes, zeros = m.const(values, "int8"), m.const([0] * len(values), "int8")
    scales = m.const([0.01] * len(values), "float32")
    return m.op("DequantizeLinear", codes, scales, zeros, out=f"{codes}_dq", axis=0)


def net(path: Path, rows: list[list[int]], column: list[int]) -> Path:
    """A 1×1 convolution with these weights, and a depthwise one whose filters have one column."""
    m = QdqModel(seed=1)
    x = m.q(m.input("x", 1, len(rows[0]), 6, 6), scale=0.02, zero=0)
    weight = np.array(rows, np.int8)[:, :, None, None]
    c = m.q(m.op("Conv", x, stored(m, weight), out="c", kernel_shape=[1, 1]), scale=0.3, zero=4)
    filters = np.tile(np.array(column, np.int8), (len(rows), 1, 1))[..., None]
    d = m.op("Conv", c, stored(m, filters), out="d", kernel_shape=[len(column), 1], group=len(rows))
    return m.save(path, m.q(d, scale=0.3, zero=4))


def shares(model: Path) -> list[tuple[int, int, int, int]]:
    graph, _ = lowered(model, profile.load(pairs.TARGET))
    return [(each.steps, each.unsafe, each.cut, each.picked) for each in pairs.layers(graph)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # One step of the two is too large, and its elements pair otherwise.
        ([100, 100, 1, 1, 28, 28, 3, 3], (2, 1, 2, 1)),
        ([63] * 8, (2, 0, 2, 0)),
        # Nobody is small enough for anybody: a pair for each.
        ([127] * 8, (2, 2, 4, 4)),
    ],
)
def test_steps_are_counted_as_the_kernel_cuts_them(
    row: list[int], expected: tuple[int, ...], tmp_path: Path
) -> None:
    found = shares(net(tmp_path / "net.onnx", [row, [1] * 8], [127, 3, 126]))
    assert found == [expected, (2, 0, 2, 0)]


def test_a_column_that_is_too_large_is_unsafe(tmp_path: Path) -> None:
    model = net(tmp_path / "net.onnx", [[1, 1], [1, 1], [1, 1]], [127, 3, 127, 127, 127])
    assert shares(model)[1] == (6, 3, 6, 0)


def test_the_command_prints_a_row_a_layer_and_one_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = net(tmp_path / "net.onnx", [[127] * 8] * 2, [127, 2, 127])
    monkeypatch.setattr(sys, "argv", ["pairs", str(model)])
    pairs.main()
    *_, layer, depthwise, every, _, _ = capsys.readouterr().out.split("\n")
    assert layer.endswith("| 2 | 100.0% | 100.0% | 100.0% |")
    assert depthwise.endswith("| 2 | 0.0% | 0.0% | 0.0% |")
    assert every == "| all | 4 | 50.0% | 66.7% | 50.0% |"
