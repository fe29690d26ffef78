"""Samples without labels: what is read, and how it is split."""

import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from edgekiln.models import data
from edgekiln.models.data.unlabelled import fingerprint
from edgekiln.runtime.errors import ConfigError, InputError

DRAW = np.random.default_rng(0)


@pytest.fixture
def pictures(tmp_path):
    """Thirty pictures of several sizes, side by side in one folder."""
    home = tmp_path / "pictures"
    home.mkdir()
    for index in range(30):
        pixels = DRAW.integers(0, 256, (20 + index % 3, 24, 3), np.uint8)
        Image.fromarray(pixels).save(home / f"{index:02}.png")
    return home


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's own module, beside which the tool is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "own_samples.py").write_text(
        textwrap.dedent("""
        import numpy as np

        def rows(count=40):
            for index in range(count):
                yield np.full((3, 5), index, np.float32)

        def named():
            return [{"a": np.full(2, i, np.int64), "b": np.float32(i)} for i in range(20)]

        class Pairs:
            def __len__(self):
                return 25

            def __getitem__(self, index):
                return np.full(4, index, np.float32), index % 2

        def parts():
            return {"train": Pairs(), "test": [(np.zeros(7), 0)]}

        def uneven():
            return [np.zeros(3), np.zeros(4)]

        def broken():
            raise KeyError("lost")

        def leaving():
            raise SystemExit
        """)
    )
    yield "own_samples"
    sys.modules.pop("own_samples", None)


def test_every_sample_is_in_one_part(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(50)[:, None])
    found = data.load_samples(str(tmp_path / "x.npy"), 0)
    places = np.concatenate([*found.parts.values()])
    assert sorted(places.tolist()) == list(range(50))
    assert {part: len(indices) for part, indices in found.parts.items()} == {
        "test": 10, "val": 5, "calib": 35,
    }  # fmt: skip


def test_the_seed_decides_the_parts(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(50)[:, None])
    tests = [data.load_samples(str(tmp_path / "x.npy"), seed).parts["test"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(tests[0], tests[1])
    assert set(tests[0].tolist()) != set(tests[2].tolist())


def test_one_sample_serves_twice_and_that_is_said(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 3), np.float32))
    found = data.load_samples(str(tmp_path / "x.npy"), 0)
    assert [len(found.parts[part]) for part in ("calib", "val", "test")] == [1, 1, 1]
    assert found.notes == ("of 1 samples some calibrate and are held out at once",)


def test_pictures_are_read_in_the_size_the_model_takes(pictures):
    assert data.is_unlabelled(str(pictures))
    found = data.load_samples(str(pictures), 0, size=(16, 12), color="L")
    assert found.arrays[""].shape == (30, 16, 12, 1)
    asked = data.load_samples(f"{pictures}?size=8&color=RGB&limit=7", 0, size=(16, 12))
    assert asked.arrays[""].shape == (7, 8, 8, 3)


def test_pictures_of_several_sizes_need_one(pictures):
    with pytest.raises(InputError, match="is 21×24"):
        data.load_samples(str(pictures), 0)


def test_class_folders_have_labels_and_pictures_beside_each_other_none(pictures):
    (pictures / "cats").mkdir()
    assert not data.is_unlabelled(str(pictures))


def test_training_on_what_has_no_labels_is_refused(pictures):
    with pytest.raises(InputError) as caught:
        data.load(str(pictures))
    assert caught.value.message == (
        f"{pictures}: its samples have no labels, which training and accuracy need"
    )
    assert "--calibrate" in caught.value.hint


def test_another_picture_is_another_data_set(pictures):
    before = fingerprint(str(pictures))
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(pictures / "00.png")
    assert fingerprint(str(pictures)) != before


def test_an_archive_without_labels_is_read_by_name(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, tokens=np.zeros((12, 4), np.int64), mask=np.ones((12, 4), bool))
    assert data.is_unlabelled(str(path))
    assert set(data.load_samples(str(path), 0).arrays) == {"tokens", "mask"}


@pytest.mark.parametrize(
    ("arrays", "unlabelled"),
    [
        ({"x": np.zeros((9, 4, 5), np.float32)}, True),
        ({"x": np.zeros((9, 4), np.float32)}, False),  # vectors are to be reconstructed
        ({"x": np.zeros((9, 4), np.int64)}, True),  # as of tokens
        ({"x": np.zeros((9, 4, 5), np.float32), "y": np.arange(9)}, False),
        ({"x": np.zeros((9, 4), np.float32), "state": np.zeros((9, 2))}, True),
    ],
)
def test_what_has_labels_is_told_by_the_names(tmp_path, arrays, unlabelled):
    np.savez(tmp_path / "d.npz", **arrays)
    assert data.is_unlabelled(str(tmp_path / "d.npz")) is unlabelled


def test_arrays_that_are_called_as_labels_are_may_be_inputs(tmp_path):
    """Nothing but the model knows; the fingerprint, a part of keys, follows what is said."""
    spec = str(tmp_path / "d.npz")
    rows, numbers = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20) % 2
    np.savez(spec, x=rows, y=numbers, z=numbers)
    assert not data.is_unlabelled(spec)
    said = f"{spec}?inputs=x,y"
    assert data.is_unlabelled(said)
    found = data.load_samples(said, 0)
    assert {name: array.shape for name, array in found.arrays.items()} == {"x": (20, 2), "y": (20,)}
    assert fingerprint(said) != fingerprint(f"{spec}?inputs=x")
    with pytest.raises(InputError, match="no labels, which training and accuracy need"):
        data.load(said, 0)
    with pytest.raises(InputError, match="has no array 'w' of numbers") as caught:
        data.load_samples(f"{spec}?inputs=x,w", 0)
    assert caught.value.hint == "its arrays are x, y, z"


def test_inputs_of_several_lengths_are_refused(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, a=np.zeros((12, 4)), b=np.zeros((11, 4)))
    with pytest.raises(InputError) as caught:
        data.load_samples(str(path), 0)
    assert caught.value.message == f"{path}: has 12 of a, 11 of b"


def test_values_that_are_no_numbers_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.full((4, 2), np.nan))
    with pytest.raises(InputError, match="hold values that are not finite"):
        data.load_samples(str(tmp_path / "x.npy"), 0)


def test_a_factory_gives_samples_one_by_one(module):
    assert data.is_unlabelled(f"{module}:rows")
    assert len(data.load_samples(f"{module}:rows", 0)) == 40
    few = data.load_samples(f"{module}:rows?count=9&limit=6", 0)
    assert few.arrays[""].shape == (6, 3, 5)


def test_a_factory_gives_several_inputs_by_name(module):
    found = data.load_samples(f"{module}:named", 0)
    assert found.arrays["a"].shape == (20, 2)
    assert found.arrays["b"].shape == (20,)


def test_a_data_sets_labels_are_left_out(module):
    assert data.load_samples(f"{module}:Pairs", 0).arrays[""].shape == (25, 4)


def test_of_parts_that_have_labels_the_training_part_gives_the_samples(module):
    assert data.load_samples(f"{module}:parts", 0).arrays[""].shape == (25, 4)


@pytest.mark.parametrize(
    ("factory", "kind", "message"),
    [
        ("uneven", InputError, "samples are float64 (3,) and float64 (4,)"),
        ("broken", InputError, "raised KeyError: 'lost'"),
        ("leaving", InputError, "it ends Python by SystemExit: None"),
        ("nowhere", ConfigError, "no 'nowhere' in own_samples"),
        ("rows?size_of=3", ConfigError, "no parameter 'size_of'"),
    ],
)
def test_a_wrong_factory_is_named(module, factory, kind, message):
    with pytest.raises(kind) as caught:
        data.load_samples(f"{module}:{factory}", 0)
    assert message in caught.value.message
