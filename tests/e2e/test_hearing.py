"""Programs that hear: cepstral coefficients and normalized energies of sound, here and on chips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgekiln.compiler.evaluation.subject import open_subject
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.stream_session import open_session
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.models.data.options import parse
from edgekiln.models.data.sound import spectra
from edgekiln.models.data.spectrum import Spectrum
from edgekiln.models.spec import split
from edgekiln.targets import profile
from tests.e2e.compiled_models import build, check

FRAMES, NUMBERS = 6, 8
MFCC = "mfcc=8?mel=12&window=64&hop=32"
PCEN = "mel=8?pcen=true&window=64&hop=32"


def listening(tmp_path: Path, step: str, *, remembers: bool = False) -> Path:
    """It gives what it hears, and, if it remembers, how often it was asked."""
    shape = [1, FRAMES, NUMBERS]
    nodes = [helper.make_node("Relu", ["x"], ["positive"]), helper.make_node("Neg", ["x"], ["n"]),
             helper.make_node("Relu", ["n"], ["negative"]),
             helper.make_node("Sub", ["positive", "negative"], ["y"])]  # fmt: skip
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    weights = []
    if remembers:
        nodes.append(helper.make_node("Add", ["h", "one"], ["h_next"]))
        weights.append(helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]))
        inputs.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 1]))
        outputs.append(helper.make_tensor_value_info("h_next", TensorProto.FLOAT, [1, 1]))
    graph = helper.make_graph(nodes, "listening", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    states = (("h", "h_next"),) if remembers else ()
    io.write_meta(model, replace(io.read_meta(model), states=states))
    attach(model, ("pcm", step), ())
    io.save_model(model, tmp_path / "listening.onnx")
    return tmp_path / "listening.onnx"


def about(step: str) -> Spectrum:
    found = parse(*split("w/?" + step.replace("?", "&"))).spectrum
    assert found is not None
    return found


def sound(count: int) -> NDArray[np.int16]:
    return np.random.default_rng(5).integers(-9000, 9000, (1, count)).astype(np.int16)


def wanted(step: str, pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    return spectra((pcm / 32768).astype(np.float32), about(step))


def gap(found: NDArray[np.generic], right: NDArray[np.generic]) -> float:
    """The largest difference, of numbers beyond 1 relative to them."""
    ours, theirs = found.astype(np.float64), right.astype(np.float64)
    return float((np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max())


@pytest.mark.parametrize("step", [MFCC, PCEN])
def test_sound_becomes_what_training_made_of_it(tmp_path: Path, step: str) -> None:
    model = listening(tmp_path, step)
    result = check(model, profile.load("host"))
    assert result.outputs[0].sqnr_db is None or result.outputs[0].sqnr_db > 90
    pcm = sound(about(step).samples(FRAMES))
    subject = open_subject(Artifact.of_file(build(model, profile.load("host")), "lib"))
    assert gap(subject.predict({"pcm": pcm})[0], wanted(step, pcm)) < 1e-3


@pytest.mark.parametrize(
    "target",
    ["host", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rpi5", "cortex-m55"))],
)
def test_a_stream_goes_on_with_its_mean(tmp_path: Path, target: str) -> None:
    model = listening(tmp_path, PCEN, remembers=True)
    spectrum = about(PCEN)
    whole = sound(spectrum.samples(8 * FRAMES))
    starts = [spectrum.hop * FRAMES * call for call in range(8)]
    calls = np.stack([whole[:, at : at + spectrum.samples(FRAMES)] for at in starts])
    subject = open_subject(Artifact.of_file(build(model, profile.load(target)), "lib"))
    (found,) = subject.predict({"pcm": calls})
    right = wanted(PCEN, whole)[0]
    assert gap(found.reshape(right.shape), right) < 1e-3
    oracle = open_session(io.load_model(model), optimize=False)({"pcm": calls})[0]
    assert gap(found, oracle) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("step", [MFCC, PCEN])
@pytest.mark.parametrize(
    "target", ["cortex-m0plus", "cortex-m4", "cortex-m55", "rpi5", "rpi2-armv7"]
)
def test_other_chips_hear_the_same(tmp_path: Path, target: str, step: str) -> None:
    lib = build(listening(tmp_path, step), profile.load(target))
    pcm = sound(about(step).samples(FRAMES))
    found = open_subject(Artifact.of_file(lib, "lib")).predict({"pcm": pcm})[0]
    assert gap(found, wanted(step, pcm)) < 1e-3


@pytest.mark.parametrize(
    "target",
    ["host", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rpi5", "cortex-m4"))],
)
def test_decisions_do_not_flutter(tmp_path: Path, target: str) -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "net", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    io.write_meta(model, io.Meta())
    attach(model, (), ("hysteresis=0.5?off=-0.5&steps=2",))
    io.save_model(model, tmp_path / "net.onnx")
    lib = build(tmp_path / "net.onnx", profile.load(target))
    stream = np.repeat(-np.array([1, -1, 1, 1, 0, -1, -1, 0], np.float32)[:, None, None], 2, axis=2)
    wanted = [False, False, False, True, True, True, False, False]
    (found,) = open_subject(Artifact.of_file(lib, "lib")).predict({"x": stream})
    assert found.reshape(-1, 2).tolist() == [[each] * 2 for each in wanted]
