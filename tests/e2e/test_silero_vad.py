"""The voice activity detector Silero VAD, real weights on real speech: each chunk's decision.

Its file chooses between two networks by the sampling rate and carries an LSTM's state from one
chunk of 512 samples to the next; 64 samples of the chunk before stand in front of each.
"""

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekiln.compiler.onnx_model import door, io
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.models.data import wave_files
from edgekiln.runtime.program import LoadedProgram
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts

SPEECH = Path("/usr/share/pocketsphinx/test/data")  # of Debian's package pocketsphinx-testdata
CHUNK, CONTEXT, RATE = 512, 64, 16000
TARGET = profile.load("x86-64-v3")


@pytest.fixture(scope="module")
def source() -> Path:
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        pytest.skip("silero-vad is not installed (pip install --no-deps silero-vad)")
    return Path(found.origin).parent / "data" / "silero_vad.onnx"


@pytest.fixture(scope="module")
def model(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    entered = door.enter(
        source, [f"input=1x{CHUNK + CONTEXT}", "state=2x1x128"], constants=[f"sr={RATE}"]
    )
    path = tmp_path_factory.mktemp("vad") / "vad.onnx"
    io.save_model(entered.model, path)
    return path


def wav_files() -> list[Path]:
    """Sentences read aloud, and short commands."""
    found = sorted(SPEECH.glob("librivox/*.wav"))
    if not found:
        pytest.skip("no speech (apt-get install pocketsphinx-testdata)")
    return found


def chunks(file: Path) -> np.ndarray:
    """(T, CHUNK + CONTEXT): each chunk behind the end of the one before it."""
    sound = np.concatenate([np.zeros(CONTEXT, np.float32), wave_files.read(file, RATE)])
    return np.lib.stride_tricks.sliding_window_view(sound, CHUNK + CONTEXT)[::CHUNK]


def theirs(source: Path, x: np.ndarray) -> np.ndarray:
    """The probability of speech in each chunk, by ONNX Runtime on the file as it is."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    state, found = np.zeros((2, 1, 128), np.float32), []
    for chunk in x:
        feeds = {"input": chunk[None], "state": state, "sr": np.array(RATE)}
        answer, state = session.run(["output", "stateN"], feeds)
        found.append(answer[0, 0])
    return np.array(found)


def compiled(model: Path) -> LoadedProgram:
    out = model.with_suffix(".lib")
    CompileStage().run(artifacts.of(model), out, StageContext(target=TARGET, scratch=model.parent))
    return LoadedProgram(AotRunner.open(out))


def test_no_control_flow_is_left(model: Path) -> None:
    kinds = {node.op_type for node in io.load_model(model).graph.node}
    assert "LSTM" in kinds
    assert "If" not in kinds
    assert io.read_meta(io.load_model(model)).states == (("state", "stateN"),)


def test_every_decision_on_real_speech_is_the_same(source: Path, model: Path) -> None:
    net = compiled(model)
    count = 0
    for file in wav_files():
        x = chunks(file)
        net.reset()
        ours = np.asarray(net.steps(x)[0], np.float32)
        expected = theirs(source, x)
        np.testing.assert_allclose(ours[:, 0], expected, atol=1e-4)
        np.testing.assert_array_equal(ours[:, 0] > 0.5, expected > 0.5)
        assert 0 < (expected > 0.5).mean() < 1  # speech, and silence
        count += len(x)
    assert count > 700


@pytest.mark.slow
def test_an_int8_program_decides_nearly_always_the_same(
    source: Path, model: Path, tmp_path: Path
) -> None:
    data = f"{wav_files()[0].parent}?rate={RATE}&hop={CHUNK}&steps=32"
    QuantizeStage(data=data).run(
        artifacts.of(model), tmp_path / "int8.onnx", StageContext(scratch=tmp_path)
    )
    net = compiled(tmp_path / "int8.onnx")
    same: list[bool] = []
    for file in wav_files():
        x = chunks(file)
        net.reset()
        ours = np.asarray(net.steps(x)[0], np.float32)
        same += ((ours[:, 0] > 0.5) == (theirs(source, x) > 0.5)).tolist()
    assert np.mean(same) > 0.97
