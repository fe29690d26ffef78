"""Dense layers read a flattened image as it lies, where it lies without gaps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.ir.linear import Dense
from edgekiln.compiler.ir.memory import Halo
from edgekiln.compiler.ir.moves import Reshape
from edgekiln.compiler.ir.validate import faults
from tests.compiler.lowering.programs import images, ours, reference
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    kinds,
    only,
)
from tests.compiler.qdq_models import QdqModel


def test_a_flattened_image_reorders_the_weights_not_the_image(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 4, 4))
    a = m.q(m.conv(x, 8, 3, 3, 3, out="a"))
    flat = m.op("Flatten", a, out="flat")
    weight, _ = m.weight(5, 32)
    m.op("Gemm", flat, weight, out="y", transB=1)
    path = m.save(tmp_path / "m.onnx", "y")
    graph, model = before("absorb_flatten", path), import_onnx(path)
    assert_changes_once("absorb_flatten", graph)
    assert kinds(graph) == ["quantize", "conv2d", "reshape", "dense"]
    assert only(graph, Reshape).in_memory
    original = model.constants[model.nodes[-2].inputs[0]].reshape(5, 8, 2, 2)
    packed = only(graph, Dense).weight.reshape(5, 2, 2, 8)
    np.testing.assert_array_equal(packed, original.transpose(0, 2, 3, 1))


def test_what_is_flattened_as_onnx_has_it_leaves_the_weights_alone(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 3, 4, 4))
    weight, _ = m.weight(5, 48)
    m.op("Gemm", m.op("Flatten", x, out="flat"), weight, out="y", transB=1)
    path = m.save(tmp_path / "m.onnx", "y")
    graph, model = before("absorb_flatten", path), import_onnx(path)
    assert_leaves_alone("absorb_flatten", graph)
    assert not only(graph, Reshape).in_memory
    (original,) = (array for array in model.constants.values() if array.shape == (5, 48))
    np.testing.assert_array_equal(only(graph, Dense).weight.reshape(5, 48), original)


def flattened_beside(path: Path, reader: str, batch: int, pads: list[int]) -> Path:
    """An image that is flattened for a dense layer, and read by a window that needs a border."""
    m = QdqModel(seed=5)
    a = m.q(m.conv(m.q(m.input("x", batch, 3, 6, 7)), 8, 3, 1, 1, out="a"), 0.3)
    weight, _ = m.weight(5, 8 * 6 * 7)
    flat = m.op("Flatten", a, out="flat")
    y = m.q(m.op("Gemm", flat, weight, out="y", transB=1), 1.7)
    if reader == "conv":
        z = m.conv(a, 4, 8, 3, 3, out="z", pads=pads)
    else:
        z = m.op("AveragePool", a, out="z", kernel_shape=[3, 3], pads=pads)
    return m.save(path, y, m.q(z, 0.9))


@pytest.mark.parametrize("reader", ["conv", "pool"])
@pytest.mark.parametrize(("batch", "pads"), [(1, [1, 1, 1, 1]), (3, [0, 0, 2, 0])])
def test_an_image_with_a_border_is_flattened_without_it(
    tmp_path: Path, reader: str, batch: int, pads: list[int]
) -> None:
    path = flattened_beside(tmp_path / "m.onnx", reader, batch, pads)
    assert_leaves_alone("absorb_flatten", before("absorb_flatten", path))
    x = images(batch, 3, 6, 7)
    found, expected = ours(path, x)[0], reference(path, x)[0]
    assert len(np.unique(expected)) == expected.size
    np.testing.assert_array_equal(found, expected)


def test_a_graph_that_reads_a_border_as_values_is_not_sound(tmp_path: Path) -> None:
    path = flattened_beside(tmp_path / "m.onnx", "conv", 1, [0, 0, 0, 0])
    graph = before("concat_in_place", path)
    assert faults(graph) == []
    (flat,) = (node for node in graph.nodes if isinstance(node.op, Reshape) and node.op.in_memory)
    image = graph.tensors[flat.inputs[0]]
    graph.put(replace(image, halo=Halo(top=1)))
    (fault,) = faults(graph)
    assert fault.endswith("lies between its values")
