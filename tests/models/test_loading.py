"""From a data set's name to four disjoint splits and their preprocessing."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.models.data import options
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.inputs import preprocess
from edgekiln.runtime.manifest import Preprocessing

PARTS = ("train", "val", "calib", "test")


@pytest.fixture
def numbered(tmp_path):
    """300 different 2×2 images of three classes, so that each can be recognised."""
    x = np.zeros((300, 2, 2, 1), np.uint8)
    x[:, 0, 0, 0], x[:, 0, 1, 0] = np.arange(300) % 256, np.arange(300) // 256
    path = tmp_path / "numbered.npz"
    np.savez(path, x=x, y=np.arange(300) % 3)
    return path


def _samples(split):
    return {sample.tobytes() for sample in split.x}


def test_the_default_data_set_is_1797_real_digits():
    digits = data.load("digits")
    assert [len(getattr(digits, part)) for part in PARTS] == [1197, 100, 100, 400]
    assert digits.train.x.shape[1:] == (32, 32, 3)
    assert digits.train.x.dtype == np.uint8
    assert digits.classes == tuple("0123456789")
    assert digits.notes == ()
    for part in PARTS:
        counts = np.bincount(getattr(digits, part).y, minlength=10)
        assert counts.min() >= 0.8 * counts.max()


@pytest.mark.parametrize("options", ["", "?val=30&calib=20&test=50", "?test=0.5", "?limit=100"])
@pytest.mark.parametrize("seed", [0, 7])
def test_no_sample_is_in_two_splits(numbered, options, seed):
    loaded = data.load(f"{numbered}{options}", seed)
    for one, other in itertools.combinations(PARTS, 2):
        assert not _samples(getattr(loaded, one)) & _samples(getattr(loaded, other))
    total = sum(len(getattr(loaded, part)) for part in PARTS)
    assert total == (100 if "limit" in options else 300)


def test_the_sizes_asked_for_are_kept(numbered):
    loaded = data.load(f"{numbered}?val=30&calib=0.1&test=60")
    assert [len(getattr(loaded, part)) for part in PARTS] == [180, 30, 30, 60]


def test_a_test_part_of_the_files_stays_the_test_split(tmp_path):
    path = tmp_path / "two.npz"
    x = np.arange(120, dtype=np.uint8).repeat(4).reshape(120, 2, 2)
    y = np.arange(120) % 2
    np.savez(path, x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
    whole = data.load(str(path))
    assert sorted(whole.test.x[:, 0, 0, 0]) == list(range(100, 120))
    assert [len(getattr(whole, part)) for part in PARTS] == [80, 10, 10, 20]
    assert len(data.load(f"{path}?test=8").test) == 8


def test_the_seed_moves_samples_between_splits_and_changes_the_fingerprint(numbered):
    first, again, other = (data.load(str(numbered), seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint
    assert _samples(first.test) == _samples(again.test)
    assert first.fingerprint != other.fingerprint
    assert _samples(first.test) != _samples(other.test)


def test_the_fingerprint_is_of_the_content_and_not_of_the_path(numbered, tmp_path):
    copy = tmp_path / "copy.npz"
    copy.write_bytes(numbered.read_bytes())
    assert data.load(str(copy)).fingerprint == data.load(str(numbered)).fingerprint
    changed = dict(np.load(numbered))
    changed["x"][0] += 1
    np.savez(copy, **changed)
    assert data.load(str(copy)).fingerprint != data.load(str(numbered)).fingerprint


@pytest.mark.parametrize("option", ["scale=1", "mean=0.5", "std=2", "layout=NHWC", "size=4"])
def test_every_option_changes_the_fingerprint(numbered, option):
    plain = data.load(str(numbered)).fingerprint
    assert data.load(f"{numbered}?{option}").fingerprint != plain


def test_training_pixels_are_standardized_by_default():
    digits = data.load("digits")
    x = preprocess(digits.train.x, digits.preprocessing)
    assert x.shape == (1197, 3, 32, 32)
    assert x.mean(axis=(0, 2, 3)) == pytest.approx(0, abs=1e-4)
    assert x.std(axis=(0, 2, 3)) == pytest.approx(1, abs=1e-4)


def test_who_gives_a_scale_means_just_that() -> None:
    raw = data.load("digits?scale=1").preprocessing
    assert (raw.scale, raw.mean, raw.std) == (1.0, (0.0,), (1.0,))
    half = data.load("digits?mean=0.5").preprocessing
    assert (half.scale, half.mean, half.std) == (1 / 255, (0.5,), (1.0,))


def test_preprocessing_is_what_the_user_says():
    loaded = data.load("digits?scale=1&mean=0&std=1&layout=NHWC")
    assert loaded.preprocessing == Preprocessing(
        scale=1.0, mean=(0.0,), std=(1.0,), layout="NHWC", color="RGB"
    )
    assert loaded.input_shape == (32, 32, 3)
    per_channel = data.load("digits?mean=0.1,0.2,0.3&std=0.5,0.6,0.7").preprocessing
    assert per_channel.mean == (0.1, 0.2, 0.3)
    assert per_channel.std == (0.5, 0.6, 0.7)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "N*"])
@pytest.mark.parametrize("color", ["L", "RGB"])
def test_the_input_shape_is_that_of_a_preprocessed_sample(layout, color):
    loaded = data.load(f"digits?layout={layout}&color={color}&size=8x12")
    x = preprocess(loaded.val.x, loaded.preprocessing)
    assert x.shape[1:] == loaded.input_shape


def test_a_constant_channel_does_not_divide_by_zero(tmp_path):
    path = tmp_path / "flat.npz"
    np.savez(path, x=np.full((40, 2, 2, 3), 7, np.uint8), y=np.arange(40) % 2)
    assert data.load(str(path)).preprocessing.std == (1.0, 1.0, 1.0)


def test_grey_becomes_color_and_color_grey(tmp_path):
    path = tmp_path / "red.npz"
    red = np.zeros((40, 2, 2, 3), np.uint8)
    red[..., 0] = 200
    np.savez(path, x=red, y=np.arange(40) % 2)
    assert np.unique(data.load(f"{path}?color=L").train.x).tolist() == [60]  # 0.299 · 200
    np.savez(path, x=red[..., 0], y=np.arange(40) % 2)
    assert data.load(f"{path}?color=RGB").train.x.shape == (24, 2, 2, 3)


def test_the_default_data_set_can_be_limited():
    digits = data.load("digits?limit=400")
    assert [len(getattr(digits, part)) for part in PARTS] == [267, 22, 22, 89]


def test_test_samples_seen_in_training_are_noted(tmp_path):
    path = tmp_path / "leak.npz"
    x = np.arange(60, dtype=np.uint8).repeat(4).reshape(60, 2, 2)
    np.savez(path, x_train=x, y_train=np.arange(60) % 2, x_test=x[:5], y_test=np.arange(5) % 2)
    assert data.load(str(path)).notes == ("5 test samples are also training samples",)


def _refused(spec, kind):
    with pytest.raises(kind) as caught:
        data.load(spec)
    return caught.value.message, caught.value.hint


def test_a_name_that_is_neither_bundled_nor_a_file_is_refused():
    assert _refused("digts", ConfigError) == (
        "no data set or file named 'digts'",
        "did you mean digits?",
    )
    assert _refused("imagenet-1k", ConfigError) == (
        "no data set or file named 'imagenet-1k'",
        f"it is looked for in {Path.cwd()}; bundled data sets are: digits, hum, tones",
    )


def test_a_misspelt_path_is_answered_by_what_lies_beside_it(tmp_path):
    (tmp_path / "clicks.npz").touch()
    (tmp_path / "pictures").mkdir()
    for given, hint in (
        (tmp_path / "cliks.npz", f"did you mean {tmp_path / 'clicks.npz'}?"),
        (tmp_path / "picturs", f"did you mean {tmp_path / 'pictures'}?"),
        (tmp_path / "gone" / "clicks.npz", f"there is no folder {tmp_path / 'gone'}"),
    ):
        assert _refused(str(given), ConfigError) == (f"no data set or file named '{given}'", hint)
    _, hint = _refused(str(tmp_path / "other.csv"), ConfigError)
    assert hint.startswith(f"it is looked for in {tmp_path}; ")


@pytest.mark.parametrize("kind", ["npz", "csv"])
@pytest.mark.parametrize("first", [1, 3, 2_000_000_000])
def test_labels_that_do_not_begin_at_0_are_told_how_to(tmp_path, kind, first):
    path, y = tmp_path / f"labels.{kind}", first + np.arange(40) % 2
    if kind == "npz":
        np.savez(path, x=np.zeros((40, 2, 2), np.uint8), y=y)
    else:
        path.write_text("\n".join(["n,y", *(f"{n},{label}" for n, label in enumerate(y))]))
    assert _refused(f"{path}?task=classification", InputError) == (
        f"{path}: labels are {first} to {first + 1}, and classes count from 0",
        f"take {first} from each label",
    )


def test_a_label_far_beyond_the_rows_of_a_table_names_no_classes(tmp_path):
    # Each class gets a name, and of these there would be more than memory holds.
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["n,y", *(f"{n},{n % 2 * 2_000_000_000}" for n in range(40))]))
    message, hint = _refused(f"{path}?task=classification", InputError)
    assert message == f"{path}: label 2000000000 among 40 samples"
    assert hint.endswith("of numbers: --task regression")


def test_a_file_of_an_unknown_kind_is_refused(tmp_path):
    path = tmp_path / "table.ods"
    path.write_text("1,2\n")
    assert _refused(str(path), InputError) == (
        f"{path}: cannot tell what this file is",
        (
            "data is .npz, .csv, .parquet, MNIST's *-images-idx3-ubyte, a CIFAR batch, or a "
            "folder of them, of pictures or of sounds"
        ),
    )


@pytest.mark.parametrize(
    ("option", "message", "hint"),
    [
        ("sise=3", "digits: no data option 'sise'", "did you mean size?"),
        (
            "size=big",
            "data option size=big: does not fit",
            "pixels of both sides, or height x width: 96x64",
        ),
        (
            "size=0",
            "data option size=0: does not fit",
            "pixels of both sides, or height x width: 96x64",
        ),
        ("limit=-1", "data option limit=-1: does not fit", "a whole number above 0"),
        ("layout=CHW", "data option layout=CHW: does not fit", "one of NCHW, NHWC, N*"),
        ("color=CMYK", "data option color=CMYK: does not fit", "one of RGB, L"),
        (
            "std=0",
            "data option std=0: does not fit",
            "it must be above 0",
        ),
        (
            "mean=a,b",
            "data option mean=a,b: does not fit",
            "a number, or one for each channel: 0.49,0.48,0.45",
        ),
        (
            "mean=1,2",
            "data option mean: 2 numbers for 3 channels",
            "give one number, or one for each channel",
        ),
        ("scale=1,2", "data option scale=1,2: does not fit", "one number for all channels"),
        (
            "scale=nan",
            "data option scale=nan: does not fit",
            "a number, or one for each channel: 0.49,0.48,0.45",
        ),
    ],
)
def test_a_wrong_option_is_named(option, message, hint):
    assert _refused(f"digits?{option}", ConfigError) == (message, hint)


def test_splits_that_leave_nothing_to_train_on_are_refused():
    message, hint = _refused("digits?test=1000&val=800", InputError)
    assert message == "digits: no samples are left for the calib split"
    assert hint == "give more samples; of few, say how many go where: ?test=1&val=1&calib=1"


def test_a_class_without_training_samples_is_named(tmp_path):
    path = tmp_path / "gap.npz"
    y = np.arange(40) % 2 * 2  # classes 0 and 2
    np.savez(path, x=np.zeros((40, 2, 2), np.uint8), y=y)
    message, hint = _refused(str(path), InputError)
    assert message == f"{path}: no training samples of class 1"
    assert hint == "every class needs samples to train on; small classes need more of them"


@pytest.mark.parametrize(
    "option", ["limit", "frame", "hop", "rate", "steps", "size", "crop", "mel", "seconds"]
)
@pytest.mark.parametrize("number", ["9" * 30, "9" * 5000])
def test_a_count_beyond_all_data_is_refused(option, number):
    with pytest.raises(ConfigError) as caught:
        options.parse("digits", {option: number})
    assert caught.value.message == f"data option {option}={number}: does not fit"


@pytest.mark.parametrize("part", ["val", "test", "calib"])
def test_a_split_beyond_all_data_leaves_nothing_for_the_others(part):
    message, _ = _refused(f"digits?{part}={'9' * 30}", InputError)
    assert message.startswith("digits: no samples are left for the ")


@pytest.mark.parametrize("option", ["scale=1e308", "mean=1e39", "std=1e-60", "std=1e-39&scale=9"])
def test_numbers_that_float32_does_not_hold_are_refused(option):
    message, _ = _refused(f"digits?{option}", ConfigError)
    assert message.startswith("digits: preprocessing ")
