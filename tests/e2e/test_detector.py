"""Detectors with the suppression inside: from a frame to boxes, on this machine and on chips."""

import ctypes
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgekiln.compiler.evaluation.subject import open_subject
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.stream_session import open_session
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime.bundle import read_program
from edgekiln.runtime.manifest import DETECTIONS, Preprocessing
from edgekiln.targets import profile
from tests.cli.conftest import Cli, cli
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import build, check
from tests.source_tree import ROOT

__all__ = ["cli"]  # a fixture

LABELS = ("cat", "dog", "hen")
FRAME = (40, 60)


def camera(tmp_path: Path) -> Path:
    """A quantized network of 4 × 6 cells of 8 pixels, with a letterbox before and boxes behind."""
    m = QdqModel(seed=7)
    x = m.q(m.input("x", 1, 3, 32, 48), scale=0.02, zero=-5)
    m.q(m.conv(x, 8, 3, 8, 8, out="grid", strides=[8, 8]), scale=0.02, zero=0)
    model = io.load_model(m.save(tmp_path / "net.onnx", "grid_dq"))
    numbers = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.21, 0.22))
    io.write_meta(model, replace(io.read_meta(model), preprocessing=numbers, labels=LABELS))
    steps = ("detections=yolox?strides=8&score=0.4&most=10",)
    attach(model, (f"pixels={FRAME[0]}x{FRAME[1]}", "letterbox"), steps)
    io.save_model(model, tmp_path / "camera.onnx")
    return tmp_path / "camera.onnx"


def frame() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (1, *FRAME, 3)).astype(np.uint8)


def test_a_frame_becomes_the_boxes_that_onnx_runtime_finds(tmp_path: Path) -> None:
    model = camera(tmp_path)
    integers = check(model, profile.load("host"), samples=2).integer_layers
    assert integers
    assert not any(gap.differing for gap in integers)
    program = open_subject(Artifact.of_file(build(model, profile.load("host")), "lib"))
    loaded = io.load_model(model)
    name = loaded.graph.input[0].name
    records, count = program.predict({name: frame()})
    wanted, wanted_count = open_session(loaded, optimize=False)({name: frame()})
    assert count.tolist() == wanted_count.tolist()
    assert 1 < count[0] <= 10
    gap = np.abs(records.astype(np.float64) - wanted.astype(np.float64))
    assert gap.max() < 1e-3
    assert records[0, : count[0], :4].min() >= 0
    assert (records[0, : count[0], :4] <= [60, 40, 60, 40]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["cortex-m0plus", "cortex-m7", "cortex-m55", "rpi5", "rpi2-armv7"]
)
def test_other_chips_find_the_same_boxes(tmp_path: Path, target: str) -> None:
    model = camera(tmp_path)
    name = io.load_model(model).graph.input[0].name
    ours, theirs = (
        open_subject(Artifact.of_file(build(model, profile.load(chip)), "lib")).predict(
            {name: frame()}
        )
        for chip in ("host", target)
    )
    assert ours[1].tolist() == theirs[1].tolist()
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_the_header_has_the_record_and_the_names(tmp_path: Path) -> None:
    spec, files = read_program(build(camera(tmp_path), profile.load("host")))
    assert (spec.outputs[0].holds, spec.outputs[1].holds) == (DETECTIONS, "")
    (tmp_path / "model.h").write_bytes(files["model.h"])
    (tmp_path / "use.c").write_text(
        '#include "model.h"\n'
        "_Static_assert(sizeof(model_detection_t) * MODEL_DETECTION_COUNT == "
        'MODEL_OUTPUT_0_BYTES, "rows");\n'
        "float best(const model_detection_t *found) { return found[0].score; }\n"
        "int kind(const model_detection_t *found) { return (int)found[0].class_number; }\n"
    )
    command = ["cc", "-shared", "-fPIC", "-Werror", "-Wall", "use.c", "-o", "use.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    use = ctypes.CDLL(str(tmp_path / "use.so"))
    use.best.restype = ctypes.c_float
    row = (ctypes.c_float * 6)(1, 2, 3, 4, 0.5, 2)
    assert use.best(row) == 0.5
    assert LABELS[use.kind(row)] == "hen"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The tutorial's files where the tool is started, trained so little that it finds anything."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for file in (ROOT / "examples" / "tasks").glob("shapes.*"):
        shutil.copy(file, tmp_path)
    recipe = tmp_path / "shapes.toml"
    text = recipe.read_text().replace("epochs = 25", "epochs = 2").replace("=0.4&", "=0.01&")
    recipe.write_text(text)
    yield tmp_path
    sys.modules.pop("shapes", None)


def test_the_tutorials_detector_finds_boxes_on_a_picture(cli: Cli, here: Path) -> None:
    data = ("--data", "shapes:Shapes?limit=300&task=detection")
    fixed = ("--recipe", "shapes.toml", "--bench-seconds", 0, "--json", "--max-drop", 100)
    result = cli("build", "shapes:net", *data, *fixed)
    assert result.exit_code == 0, result.stderr
    subprocess.run([sys.executable, "shapes.py", "picture.png"], cwd=here, check=True)
    with Image.open(here / "picture.png") as picture:
        assert picture.size == (128, 96)
    bundle = here / "dist" / "net-host.ekb"
    told = cli("run", bundle, "--input", here / "picture.png")
    assert told.exit_code == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0] == "detections: float32 1×20×6"
    assert lines[1].split() == ["CLASS", "SCORE", "LEFT", "TOP", "RIGHT", "BOTTOM"]
    document = json.loads(cli("run", bundle, "--input", here / "picture.png", "--json").stdout)
    records, count = document["outputs"]
    assert count["values"] == [len(records["detections"])]
    assert count["values"][0] > 0
    assert "detections" not in count
    for line, found in zip(lines[2:], records["detections"], strict=False):
        assert line.split()[0] == found["name"] in ("square", "disc", "bar")
        assert 0 <= found["left"] <= found["right"] <= 128
        assert 0 <= found["top"] <= found["bottom"] <= 96


def test_a_float_file_with_its_own_suppression_is_quantized_and_built(
    cli: Cli, tmp_path: Path
) -> None:
    body = """
    a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1)
    r = Relu (a)
    raw = Conv (r, w2)
    flat = Reshape (raw, rows)
    boxes = Transpose <perm = [0, 2, 1]> (flat)
    edges = Slice (boxes, c0, c4, c2)
    logits = Slice (flat, c4, c7, c1)
    scores = Sigmoid (logits)
    kept = NonMaxSuppression (edges, scores, most, overlap, least)
    cut = Slice (kept, c2, c3, c1)
    numbers = Squeeze (cut, c1)
    all_boxes = Squeeze (edges, c0)
    found = Gather <axis = 0> (all_boxes, numbers)
    """
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> m (float[1, 3, 16, 16] x) => '
        f"(float[R, 4] found, int64[R, 3] kept) {{{body}}}"
    )
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "w1": rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 0.5, (7, 8, 1, 1)).astype(np.float32),
        "rows": np.array([0, 7, -1]), "most": np.array([5]),
        "overlap": np.array([0.4], np.float32), "least": np.array([0.93], np.float32),
    } | {f"c{i}": np.array([i]) for i in (0, 1, 2, 3, 4, 7)}  # fmt: skip
    for name, array in arrays.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "detector.onnx")
    images = rng.normal(size=(16, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    done = cli(
        "quantize", tmp_path / "detector.onnx", "-o", tmp_path / "int8.onnx",
        "--calibrate", tmp_path / "images.npy",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    lib = tmp_path / "detector.lib"
    done = cli("compile", tmp_path / "int8.onnx", "-o", lib)
    assert done.exit_code == 0, done.stderr
    spec, _ = read_program(lib)
    assert any(layer.op == "conv2d" and layer.integer for layer in spec.layers)
    program = open_subject(Artifact.of_file(lib, "lib"))
    quantized = open_subject(Artifact.of_file(tmp_path / "int8.onnx", "onnx-int8"))
    counts = set()
    for image in images:
        given = {"x": image[None]}
        ours = dict(zip(program.gives, program.predict(given), strict=True))
        theirs = dict(zip(quantized.gives, quantized.predict(given), strict=True))
        np.testing.assert_array_equal(ours["kept"], theirs["kept"])
        found, wanted = (each["found"].astype(np.float64) for each in (ours, theirs))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        counts.add(int((ours["kept"].astype(np.int64)[:, 0] >= 0).sum()))
    assert len(counts) > 1, "as many boxes stay in all pictures"
