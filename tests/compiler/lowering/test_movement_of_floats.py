"""Operators that only move values: the values come out, each at its place."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts, float_models
from tests.compiler.lowering.programs import images, ours

TARGET = profile.load("host")  # the widest vectors that can be run
COUNT = 40
LARGEST = 50_000  # elements of a result


def tiles(rng: np.random.Generator) -> tuple[onnx.ModelProto, list[np.ndarray], list[np.ndarray]]:
    """A model of Tile nodes with random shapes and repeats; their inputs and right results."""
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((1, 3, 4, 3), (1, 5, 6, 5)), ((2, 3, 4, 5), (7, 6, 4, 2)), ((5, 4, 8), (1, 8, 3))
    ]  # fmt: skip
    while len(shapes) < COUNT:
        rank = rng.integers(1, 5)
        extents, counts = rng.integers(1, 9, rank), rng.integers(1, 7, rank)
        if np.prod(extents * counts) <= LARGEST:
            shapes.append((tuple(map(int, extents)), tuple(map(int, counts))))
    nodes, constants = [], []
    inputs: list[np.ndarray] = []
    expected: list[np.ndarray] = []
    sources: list[onnx.ValueInfoProto] = []
    results: list[onnx.ValueInfoProto] = []
    for i, (shape, repeats) in enumerate(shapes):
        inputs.append(rng.normal(0, 1, shape).astype(np.float32))
        expected.append(np.tile(inputs[-1], repeats))
        constants.append(numpy_helper.from_array(np.array(repeats, np.int64), f"r{i}"))
        nodes.append(helper.make_node("Tile", [f"x{i}", f"r{i}"], [f"y{i}"]))
        for name, array, values in (("x", inputs, sources), ("y", expected, results)):
            values.append(
                helper.make_tensor_value_info(f"{name}{i}", TensorProto.FLOAT, array[-1].shape)
            )
    graph = helper.make_graph(nodes, "tiles", sources, results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model, inputs, expected


def run(model: onnx.ModelProto, home: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    path = float_models.write(model, home / "m.onnx")
    lib = path.with_suffix(".lib")
    CompileStage().run(artifacts.of(path), lib, StageContext(target=TARGET, scratch=home))
    return list(AotRunner.open(lib).run(*inputs))


@pytest.mark.parametrize("reduction", ["none", "add", "max"])
def test_values_are_scattered_to_constant_places(tmp_path: Path, reduction: str) -> None:
    rng = np.random.default_rng(0)
    constants = {
        "at": np.array([[[0], [2]], [[5], [1]]]),
        "what": rng.normal(0, 1, (2, 2, 7)).astype(np.float32),
    }
    model = float_models.make(
        f'y = ScatterND <reduction = "{reduction}"> (x, at, what)\n', {}, x="6, 7", y="6, 7",
        constants=constants,
    )  # fmt: skip
    x = rng.normal(0, 1, (6, 7)).astype(np.float32)
    (found,) = run(model, tmp_path, x)
    expected = ReferenceEvaluator(model).run(None, {"x": x})
    assert isinstance(expected, list)
    np.testing.assert_array_equal(found, expected[0])


@pytest.mark.parametrize("axis", [0, 1])
def test_running_sums_go_along_their_axis(tmp_path: Path, axis: int) -> None:
    constants = {"axis": np.array(axis)}
    model = float_models.make("y = CumSum (x, axis)\n", {}, x="6, 7", y="6, 7", constants=constants)
    x = np.random.default_rng(0).integers(-9, 9, (6, 7)).astype(np.float32)
    np.testing.assert_array_equal(run(model, tmp_path, x)[0], np.cumsum(x, axis))


def test_tiles_of_any_shape_repeat_their_input(tmp_path: Path) -> None:
    """LLVM compiled `x[i % 4]` into reads past the end of x."""
    model, inputs, expected = tiles(np.random.default_rng(2))
    found = run(model, tmp_path, *inputs)
    wrong = [
        f"{a.shape} to {c.shape}"
        for a, b, c in zip(inputs, found, expected, strict=True)
        if not np.array_equal(b, c)
    ]
    assert wrong == []


@pytest.mark.parametrize("op", ["DepthToSpace", "SpaceToDepth"])
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [2, 3])
def test_floats_become_blocks_of_pixels_as_the_mode_says(
    tmp_path: Path, op: str, mode: str, block: int
) -> None:
    x = images(2, 3 * block**2, 2 * block, 3 * block)
    n, c, h, w = x.shape
    if op == "DepthToSpace":
        split = (n, block, block, 3, h, w) if mode == "DCR" else (n, 3, block, block, h, w)
        order = (0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3)
        shape = (n, 3, h * block, w * block)
    else:
        split = (n, c, 2, block, 3, block)
        order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
        shape = (n, c * block**2, 2, 3)
    model = float_models.make(
        f'y = {op} <blocksize = {block}, mode = "{mode}"> (x)\n', {},
        x=", ".join(map(str, x.shape)),
        y=", ".join(map(str, shape)), opset=28 if op == "SpaceToDepth" else 20,
    )  # fmt: skip
    (found,) = ours(float_models.write(model, tmp_path / "m.onnx"), x)
    np.testing.assert_array_equal(found, x.reshape(split).transpose(order).reshape(shape))
