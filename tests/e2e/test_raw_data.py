"""Programs that take camera frames and give classes: bit by bit what ONNX Runtime makes of them."""

import ctypes
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from edgekiln.compiler.build import driver
from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.build.raw_data import TAKES_RAW
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.documents.progress import progress
from edgekiln.compiler.evaluation.subject import open_subject
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.stream_session import open_session
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.store import Store
from edgekiln.models.data import load
from edgekiln.runtime import load as load_program
from edgekiln.runtime.bundle import LIBRARY, ProgramFile, read_program
from edgekiln.runtime.manifest import Preprocessing
from edgekiln.targets import profile
from tests.compiler import float_models
from tests.compiler.qdq_models import QdqModel
from tests.e2e.compiled_models import build, check, residual_net
from tests.runtime.test_waves import write

NUMBERS = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.21, 0.22))
LABELS = tuple("abcdefghij")
STEPS = (
    (("pixels",), ("softmax",)),
    (("nv12=48x64", "crop=40x44", "resize"), ("softmax", "top-k=3")),
    (("yuyv=30x40", "letterbox"), ("argmax",)),
)


def camera(tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...]) -> Path:
    """A quantized network with its steps."""
    model = io.load_model(residual_net(tmp_path / "net.onnx"))
    io.write_meta(model, replace(io.read_meta(model), preprocessing=NUMBERS, labels=LABELS))
    attach(model, before, after)
    io.save_model(model, tmp_path / "camera.onnx")
    return tmp_path / "camera.onnx"


@pytest.mark.parametrize(("before", "after"), STEPS)
def test_a_frame_becomes_what_onnx_runtime_makes_of_it(
    tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    model = camera(tmp_path, before, after)
    result = check(model, profile.load("host"), samples=2)
    integers = result.integer_layers
    assert integers
    assert not any(gap.differing for gap in integers)
    if after[0] != "softmax" or len(after) > 1:
        assert result.outputs[0].differing == 0  # the classes


def hearing(tmp_path: Path) -> Path:
    """A network that was trained on spectra, and takes the sound itself."""
    m = QdqModel(seed=5)
    x = m.q(m.input("x", 1, 1, 5, 8), scale=0.4, zero=60)  # decibels, -70 to 30
    m.q(m.conv(x, 4, 1, 3, 3, out="y"), scale=0.7, zero=0)
    model = io.load_model(m.save(tmp_path / "hearing.onnx", "y_dq"))
    io.write_meta(model, replace(io.read_meta(model), data="words/?mel=8"))
    attach(model, ("pcm",), ())
    # Whoever checks it has no such folder.
    io.write_meta(model, replace(io.read_meta(model), data=""))
    io.save_model(model, tmp_path / "hearing.onnx")
    return tmp_path / "hearing.onnx"


def test_sound_becomes_what_onnx_runtime_makes_of_it(tmp_path: Path) -> None:
    result = check(hearing(tmp_path), profile.load("host"))
    assert result.outputs[0].sqnr_db is None or result.outputs[0].sqnr_db > 40


def test_a_wav_file_is_run_window_by_window(tmp_path: Path) -> None:
    lib = build(hearing(tmp_path), profile.load("host"))
    net = load_program(lib)
    (spec,) = ProgramFile.open(lib).spec.inputs
    assert spec.rate_hz == 16000
    assert "#define MODEL_INPUT_0_RATE_HZ 16000" in ProgramFile.open(lib).files["model.h"].decode()
    levels = np.random.default_rng(3).integers(-9000, 9000, spec.shape[1] * 3 // 2)
    sound = write(tmp_path / "sound.wav", levels)
    result = CliRunner().invoke(edgekiln, ["run", str(lib), "--input", str(sound), "--json"])
    assert result.exit_code == 0, result.output
    windows = np.zeros((2, spec.shape[1]), np.int16)
    windows.reshape(-1)[: len(levels)] = levels
    (output,) = json.loads(result.stdout)["outputs"]
    np.testing.assert_allclose(output["values"], np.asarray(net(windows)), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), STEPS)
@pytest.mark.parametrize(
    "target", ["cortex-m0plus", "cortex-m7", "cortex-m55", "rpi5", "rpi2-armv7"]
)
def test_other_chips_have_the_same_bits(
    tmp_path: Path, target: str, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    model = camera(tmp_path, before, after)
    subject = open_subject(Artifact.of_file(build(model, profile.load(target)), "lib"))
    loaded = io.load_model(model)
    (given,) = loaded.graph.input
    shape = [dim.dim_value for dim in given.type.tensor_type.shape.dim]
    frame = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    wanted = open_session(loaded, optimize=False)({given.name: frame})
    found = subject.predict({given.name: frame})
    assert len(found) == len(wanted) > 0
    gaps = [np.abs(ours.astype(float) - theirs) for ours, theirs in zip(found, wanted, strict=True)]
    assert max(gap.max() for gap in gaps) < 1e-6


def test_a_program_knows_the_names_of_its_classes(tmp_path: Path) -> None:
    program = build(camera(tmp_path, ("pixels",), ("argmax",)), profile.load("host"))
    _, files = read_program(program)
    header = files["model.h"].decode()
    assert "#define MODEL_CLASS_COUNT 10" in header
    (tmp_path / "libmodel.so").write_bytes(files[LIBRARY])
    library = ctypes.CDLL(str(tmp_path / "libmodel.so"))
    names = (ctypes.c_char_p * 10).in_dll(library, "model_class_names")
    assert [name.decode() for name in names if name] == list(LABELS)


def digits_net(tmp_path: Path) -> Path:
    """A small float network for the bundled digits."""
    channels, height, width = load("digits", 0).input_shape
    model = float_models.make(
        "c = Conv <pads = [1, 1, 1, 1]> (x, w)\nr = Relu (c)\n"
        "p = GlobalAveragePool (r)\nf = Flatten (p)\ny = MatMul (f, g)\n",
        {"w": (8, channels, 3, 3), "g": (8, 10)},
        x=f"N, {channels}, {height}, {width}",
    )
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.mark.parametrize("source", ["pixels", "pixels=20x24"])
def test_a_build_scores_raw_data_where_its_samples_are_that(tmp_path: Path, source: str) -> None:
    before = (source,) if source == "pixels" else (source, "resize")
    recipe = Recipe(
        data="digits",
        options={
            "attach": {"before": before, "after": ("softmax",)},
            "quantize": {"accept_sqnr": 0.0},
        },
    )
    request = driver.Request(
        model=str(digits_net(tmp_path)), targets=(profile.load("host"),), recipe=recipe,
        out=tmp_path / "dist", trial_s=0,
    )  # fmt: skip
    result = driver.build(request, Store(tmp_path / "store"), progress, CHAIN)
    by_stage = {step.stage: step for step in result.steps}
    assert list(by_stage) == ["input", "quantize", "attach", "compile"]
    network, raw = by_stage["quantize"], by_stage["compile"]
    assert network.score is not None
    if source == "pixels":
        assert raw.score is not None
        assert raw.score.value == network.score.value
    else:
        assert (raw.score, raw.unscored) == (None, TAKES_RAW)
