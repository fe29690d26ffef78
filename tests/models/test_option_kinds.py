"""Options after `?`: whatever the data, each changes what is read, or is refused by its name."""

import sys
import textwrap
import wave

import numpy as np
import pytest
from PIL import Image

from edgekiln.models import data
from edgekiln.models.data.options import KEYS
from edgekiln.runtime.errors import ConfigError, EdgeKilnError, InputError

COUNT, RATE = 40, 16_000
# Of each option a value that says something else than what is usual.
VALUES = {
    "scale": "0.3", "mean": "0.4", "std": "0.7", "limit": "31", "val": "7", "calib": "5",
    "test": "9", "steps": "4", "task": "regression", "transform": "own_changes:half",
    "size": "6", "color": "L", "crop": "4", "layout": "NHWC",
    "target": "b", "columns": "a", "text": "words", "buckets": "a:0", "hash": "b:5",
    "vocabulary": "vocab.txt", "length": "10", "lower": "false", "inputs": "b",
    "seconds": "0.1", "frame": "100", "rate": "8000",
    "mel": "10", "mfcc": "8", "hop": "60", "window": "100", "fft": "512", "fmin": "50",
    "fmax": "7000", "floor": "0.001", "mel-scale": "slaney", "norm": "slaney",
    "hann": "periodic", "log": "natural", "pcen": "1", "gain": "0.5", "bias": "1.5", "power": "0.4",
    "eps": "0.001", "time-constant": "0.3",
}  # fmt: skip
LABELLED = (
    "pictures.npz", "floats.npz", "vectors.npz", "table.csv", "pictures", "sounds",
    "own_changes:pairs?task=classification", "digits",
)  # fmt: skip
UNLABELLED = (
    "two.npz", "pixels.npy", "floats.npy", "lines.txt?vocabulary=vocab.txt&length=8", "flat",
    "waves", "own_changes:pixels", "own_changes:vectors",
)  # fmt: skip
# Whether a model's own layout fits decides about these, when it is known.
LATER = {("pixels.npy", "layout"), ("flat", "layout"), ("own_changes:pixels", "layout")}
# A table of numbers is for regression already, streams are made for models that take one, and these
# texts have no capitals.
SAME = {
    ("table.csv", "task"), ("waves", "steps"),
    ("lines.txt?vocabulary=vocab.txt&length=8", "lower"),
}  # fmt: skip
OWN = """
import numpy as np

DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (40, 8, 8, 3), np.uint8)
VECTORS = DRAW.normal(size=(40, 6)).astype(np.float32)


def half(x):
    return x // 2 if x.dtype.kind in "iu" else x / 2


def pairs():
    return [(x, index % 2) for index, x in enumerate(PIXELS)]


def scaled(steps=3):
    return [(x * steps, index % 2) for index, x in enumerate(VECTORS)]


def pixels():
    return list(PIXELS)


def vectors():
    return list(VECTORS)
"""


def sound(path, seconds=0.25):
    samples = DRAW.integers(-9999, 9999, round(seconds * RATE)).astype("<i2")
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(RATE)
        stream.writeframes(samples.tobytes())


DRAW = np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="module")
def _home(tmp_path_factory):
    home = tmp_path_factory.mktemp("kinds")
    labels = np.arange(COUNT) % 2
    pixels = DRAW.integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
    floats = DRAW.normal(size=(COUNT, 1, 6, 6)).astype(np.float32)
    np.savez(home / "pictures.npz", x=pixels, y=labels)
    np.savez(home / "floats.npz", x=floats, y=labels)
    np.savez(home / "vectors.npz", x=floats.reshape(COUNT, -1), y=labels)
    np.savez(home / "two.npz", a=floats, b=labels[:, None])
    np.save(home / "pixels.npy", pixels)
    np.save(home / "floats.npy", floats)
    rows = [f"{a:.3f},{b},{b % 2}" for a, b in zip(floats[:, 0, 0, 0], range(COUNT), strict=True)]
    (home / "table.csv").write_text("\n".join(["a,b,target", *rows]))
    (home / "lines.txt").write_text("\n".join(f"hello world {i}" for i in range(COUNT)))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]
    (home / "vocab.txt").write_text("\n".join([*words, *map(str, range(COUNT))]))
    for folder in ("pictures/a", "pictures/b", "sounds/a", "sounds/b", "flat", "waves"):
        (home / folder).mkdir(parents=True)
        for index in range(COUNT):
            if folder[0] in "pf":
                Image.fromarray(pixels[index]).save(home / folder / f"{index}.png")
            else:
                sound(home / folder / f"{index}.wav")
    (home / "own_changes.py").write_text(textwrap.dedent(OWN))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.syspath_prepend(home)
        yield
    sys.modules.pop("own_changes", None)


def read(spec):
    """All that a spec decides, as something that can be compared."""
    if spec.split("?")[0] in UNLABELLED or spec.startswith(UNLABELLED):
        found = data.load_samples(spec, 0, frame=200)
        arrays = {key: (each.shape, each.tobytes()) for key, each in found.arrays.items()}
        options = found.options
        numbers = (options.scale, options.mean, options.std)
        return arrays, {part: each.tolist() for part, each in found.parts.items()}, numbers
    loaded = data.load(spec)
    parts = (loaded.train, loaded.val, loaded.calib, loaded.test)
    split = [{key: (x.shape, x.tobytes()) for key, x in part.inputs.items()} for part in parts]
    return split, [str(part.targets) for part in parts], loaded.preprocessing, loaded.task


def with_option(spec, key):
    return f"{spec}{'&' if '?' in spec else '?'}{key}={VALUES[key]}"


def test_every_option_is_tried():
    assert set(VALUES) == set(KEYS)


@pytest.mark.parametrize("spec", [*LABELLED, *UNLABELLED])
def test_an_option_is_read_or_refused_by_its_name(spec):
    before = read(spec)
    named = {part.split("=")[0] for part in spec.partition("?")[2].split("&")}
    ignored, nameless = [], []
    for key in sorted(set(KEYS) - named):
        if (spec, key) in LATER | SAME:
            continue
        try:
            if read(with_option(spec, key)) == before:
                ignored.append(key)
        except EdgeKilnError as error:
            said = f"{error.message} {error.hint}"
            if not any(word in said for word in (key, VALUES[key], "have no labels")):
                nameless.append((key, error.message))
    assert (ignored, nameless) == ([], [])


@pytest.mark.parametrize("spec", ["flat", "pictures", "table.csv", "own_changes:vectors"])
def test_an_option_of_other_data_is_not_told_what_else_it_would_need(spec):
    with pytest.raises(ConfigError) as caught:
        read(with_option(spec, "window"))
    assert "add mel=40" not in caught.value.hint


def test_pictures_that_calibrate_are_cut_and_sized_as_those_of_training():
    np.savez("plain.npz", x=np.load("pixels.npy"))
    whole = np.load("pixels.npy")
    for name in ("plain.npz", "pixels.npy", "own_changes:pixels"):
        cut = data.load_samples(f"{name}?crop=4x6", 0).arrays[""]
        source = data.load_samples(name, 0).arrays[""]
        np.testing.assert_array_equal(cut, source[:, 2:6, 1:7])
    assert data.load_samples("pixels.npy?size=5&color=L", 0).arrays[""].shape == (40, 5, 5, 1)
    flat = data.load_samples("flat?crop=4", 0, size=(16, 16)).arrays[""]
    np.testing.assert_array_equal(flat[0], np.asarray(Image.open("flat/0.png"))[2:6, 2:6])
    assert whole.shape == (40, 8, 8, 3)


def test_samples_that_calibrate_are_transformed_as_those_of_training():
    before = data.load_samples("floats.npy", 0).arrays[""]
    after = data.load_samples("floats.npy?transform=own_changes:half", 0).arrays[""]
    np.testing.assert_array_equal(after, before / 2)
    with pytest.raises(ConfigError, match="transform goes with samples of one input"):
        data.load_samples("two.npz?transform=own_changes:half", 0)


def test_whole_sounds_calibrate_by_the_spectra_that_train():
    words = "?seconds=0.2&mel=10"
    loaded = data.load(f"sounds{words}")
    labelled = [part.x for part in (loaded.train, loaded.val, loaded.calib, loaded.test)]
    found = data.load_samples(f"sounds/a{words}", 0).arrays[""]
    assert found.shape[1:] == (1, 9, 10)
    rows = {row.tobytes() for row in np.concatenate(labelled)}
    assert {row.tobytes() for row in found} < rows


def test_a_function_that_has_a_parameter_of_an_options_name_gets_it():
    plain = data.load("own_changes:scaled?task=classification").train.x
    seven = data.load("own_changes:scaled?task=classification&steps=7").train.x
    np.testing.assert_allclose(seven, plain / 3 * 7, rtol=1e-6)


def test_sounds_of_another_rate_than_the_options_say_are_refused():
    assert len(data.load("sounds?rate=16000").train)
    with pytest.raises(InputError, match="16000 samples a second, not the 8000"):
        data.load("sounds?rate=8000")
