"""Sound before a network: the spectra of training, those that a step names, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.stream_session import open_session
from edgekiln.compiler.stages.attach import AttachStage
from edgekiln.models.data.options import parse
from edgekiln.models.data.sound import spectra
from edgekiln.models.spec import split
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.inputs import preprocess
from edgekiln.runtime.manifest import Preprocessing
from tests.compiler.onnx_model.ends.test_attach import attached, network

FRAMES = 5
OTHER_NUMBERS = Preprocessing(scale=0.1, mean=(-3.0,), std=(2.0,), layout="")
OPTIONS = (
    "mel=8", "mfcc=8&mel=20", "mel=8&pcen=true",
    "mel=8&window=400&hop=160&fft=512&fmin=20&fmax=4000&mel-scale=slaney&norm=slaney",
    "mel=8&hann=periodic&log=natural&floor=0.001",
    "mel=8&pcen=true&gain=0.8&bias=10&power=0.25&time-constant=0.06",
)  # fmt: skip


def hearing(data: str = "", shape: tuple[int, ...] = (1, 1, FRAMES, 8),
            numbers: Preprocessing | None = None) -> onnx.ModelProto:  # fmt: skip
    model = network(shape, numbers)
    io.write_meta(model, replace(io.read_meta(model), data=data))
    return model


def sound(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20000, 20000, (1, count)).astype(np.int16)


def as_a_step(options: str) -> str:
    """ "mfcc=8&mel=20" as "mfcc=8?mel=20"."""
    first, *others = options.split("&")
    return "?".join([first, "&".join(others)]) if others else first


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("numbers", "known"), [(None, True), (OTHER_NUMBERS, True), (None, False)])
def test_sound_becomes_the_spectra_of_training(
    tmp_path: Path, options: str, numbers: Preprocessing | None, known: bool
) -> None:
    data = f"words/?seconds=1&{options}"
    about = parse(*split(data)).spectrum
    assert about is not None
    steps = ["pcm"] if known else ["pcm", as_a_step(options)]
    model = attached(hearing(data if known else "", numbers=numbers), tmp_path, before=steps)
    (given,) = model.graph.input
    count = given.type.tensor_type.shape.dim[1].dim_value
    assert count == about.samples(FRAMES)
    pcm = sound(count)
    wanted = spectra(pcm.astype(np.float32) / 32768, about)[:, None]
    if numbers is not None:
        wanted = preprocess(wanted, numbers)
    found = open_session(model, optimize=False)({given.name: pcm})[1]
    np.testing.assert_allclose(found, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((1, FRAMES, 8, 1), "TF"), ((1, FRAMES * 8), ""), ((1, 8, FRAMES), "FT"), ((1, 8, 1), "FT"),
     ((1, 8), "TF"), ((1, 8), "FT")],
)  # fmt: skip
def test_a_step_says_which_axis_is_time(
    tmp_path: Path, shape: tuple[int, ...], layout: str
) -> None:
    step = f"mfcc=8?mel=20&layout={layout}"
    if not layout:
        with pytest.raises(ConfigError, match="layout=: does not fit"):
            attach(hearing(shape=shape), ["pcm", step], [])
        return
    model = attached(hearing(shape=shape), tmp_path, before=["pcm", step])
    (given,) = model.graph.input
    count = given.type.tensor_type.shape.dim[1].dim_value
    about = parse(*split("w/?mfcc=8&mel=20")).spectrum
    assert about is not None
    wanted = spectra(sound(count).astype(np.float32) / 32768, about)
    wanted = wanted if layout == "TF" else wanted.transpose(0, 2, 1)
    found = open_session(model, optimize=False)({given.name: sound(count)})[1]
    np.testing.assert_allclose(found, wanted.reshape(shape), atol=1e-3)


def test_a_stream_goes_on_with_its_mean(tmp_path: Path) -> None:
    model = hearing("w/?mel=8&pcen=true")
    # A network that remembers something already: its calls are the steps of a stream.
    state = onnx.helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, [1, 2])
    model.graph.input.append(state)
    model.graph.node.append(onnx.helper.make_node("Neg", ["h"], ["h_next"]))
    after = onnx.helper.make_tensor_value_info("h_next", onnx.TensorProto.FLOAT, [1, 2])
    model.graph.output.append(after)
    io.write_meta(model, replace(io.read_meta(model), states=(("h", "h_next"),)))
    model = attached(model, tmp_path, before=["pcm"])
    assert len(io.read_meta(model).states) == 2
    about = parse(*split("w/?mel=8&pcen=true")).spectrum
    assert about is not None
    # Of frames that follow each other: a call's samples overlap those of the call before.
    whole = sound(about.samples(4 * FRAMES))
    starts = [about.hop * FRAMES * call for call in range(4)]
    calls = np.stack([whole[:, at : at + about.samples(FRAMES)] for at in starts])
    found = open_session(model, optimize=False)({"pcm": calls})[1].reshape(-1, 8)
    wanted = spectra(whole.astype(np.float32) / 32768, about)[0]
    np.testing.assert_allclose(found, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("data", "steps", "message"),
    [
        ("", ["pcm"], "step pcm: the network takes [1, 5, 8], and its data set is unknown"),
        (
            "w/?mel=9", ["pcm"],
            "step pcm: the network takes [1, 5, 8], and its data set is w/?mel=9",
        ),
        (
            "w/?mel=8", ["pcm=16000"],
            "step pcm=16000: 16000 samples are 49 frames, the network takes 5",
        ),
        ("w/?mel=8", ["pcm=0"], "step pcm=0: no samples are no sound"),
        ("w/?mel=8", ["pcm", "resize"], "step resize: is a step of pictures"),
        ("", ["pcm", "mel=8", "mfcc=8"], "step mfcc=8: is a second one"),
        ("", ["mfcc=8"], "step mfcc=8: is no source"),
        ("", ["pcm", "mfcc=8?mell=3"], "step mfcc=8?mell=3: no option 'mell'"),
        ("", ["pcm", "mfcc=8?mfcc=3"], "step mfcc=8?mfcc=3: no option 'mfcc'"),
        ("", ["pcm", "mel=0"], "step mel=0: mel=0: does not fit"),
        ("", ["pcm", "mel=5"], "step mel=5: the network takes [1, 5, 8], a frame has 5 numbers"),
        (
            "w/?mel=8", ["pcm", "mel=8?hop=160"],
            "step mel=8?hop=160: the network was trained on other spectra, those of w/?mel=8",
        ),
    ],
)  # fmt: skip
def test_sound_that_does_not_fit_is_named(data: str, steps: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        attach(hearing(data), steps, [])
    assert error.value.message == message
    assert error.value.hint


def test_energies_of_very_many_frames_are_not_normalized_in_one_call() -> None:
    # A matrix of (frames, frames) would be a weight of the program.
    with pytest.raises(ConfigError, match="normalizes the energy of 5000 frames") as error:
        attach(hearing("w/?mel=8&pcen=true", shape=(1, 1, 5000, 8)), ["pcm"], [])
    assert "at most 4096" in error.value.hint


def test_steps_of_sound_are_none_of_pictures() -> None:
    numbers = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    with pytest.raises(ConfigError, match="step mel=8: is a step of sound"):
        attach(network((1, 3, 8, 6), numbers), ["pixels", "mel=8"], [])


def test_a_stage_reads_its_steps_before_it_runs() -> None:
    with pytest.raises(ConfigError, match="mfcc=9: more coefficients than there are bands"):
        AttachStage(before=("pcm", "mfcc=9?mel=8"))
