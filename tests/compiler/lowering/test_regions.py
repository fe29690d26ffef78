"""RoiAlign computes what ONNX Runtime does, and every number of its result is written."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from edgekiln.benchmarks.sanitizer.program import check_library
from edgekiln.compiler.onnx_model.equivalents import write_in_others
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.bundle import LIBRARY, read_program
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts, float_models

TARGET = profile.load("host")
# Two boxes of a size; one without a width, one without a height, one turned around.
BOXES = [[1, 2, 6, 9], [3, 0, 11, 4], [2, 3, 2, 8], [1, 5, 9, 5], [7, 8, 2, 3]]


@pytest.mark.parametrize(
    ("pixels", "scale", "samples"),
    [("half_pixel", 1.0, 0), ("half_pixel", 0.5, 0), ("half_pixel", 0.0625, 3),
     ("output_half_pixel", 0.5, 0)],
)  # fmt: skip
def test_regions_are_onnxruntimes(tmp_path: Path, scale: float, samples: int, pixels: str) -> None:
    how = (
        f'coordinate_transformation_mode = "{pixels}", spatial_scale = {scale}, '
        f"sampling_ratio = {samples}, output_height = 2, output_width = 3"
    )
    corners = np.array(BOXES, np.float32) / np.float32(scale)
    model = float_models.make(
        f"y = RoiAlign <{how}> (x, boxes, of)\n", {}, x="2, 3, 9, 12", y="5, 3, 2, 3",
        constants={"boxes": corners, "of": np.arange(5) % 2},
    )  # fmt: skip
    path = float_models.write(model, tmp_path / "m.onnx")
    lib = path.with_suffix(".lib")
    CompileStage().run(artifacts.of(path), lib, StageContext(target=TARGET, scratch=tmp_path))
    x = np.random.default_rng(1).normal(0, 1, (2, 3, 9, 12)).astype(np.float32)
    (expected,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    (found,) = AotRunner.open(lib).run(x)
    spec, files = read_program(lib)
    check_library(spec, files[LIBRARY], [x], [found])  # whatever lay in memory before
    assert isinstance(expected, np.ndarray)
    np.testing.assert_allclose(found.astype(np.float32), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("boxes", ["x", "constant"])
def test_a_region_that_was_written_in_others_stays_as_it_is(boxes: str) -> None:
    model = float_models.make(
        f"y = RoiAlign <spatial_scale = 0.5> (image, {boxes}, of)\n", {}, x="5, 4", y="5, 3, 1, 1",
        constants={
            "image": np.zeros((2, 3, 9, 12), np.float32),
            "constant": np.array(BOXES, np.float32),
            "of": np.zeros(5, np.int64),
        },
    )  # fmt: skip
    assert [write_in_others(model), write_in_others(model)] == [1, 0]
