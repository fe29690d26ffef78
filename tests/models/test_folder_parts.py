"""Which folders are parts of a data set and which are classes."""

import os

import numpy as np
import pytest
from PIL import Image

from edgekiln.models import data
from edgekiln.runtime.errors import InputError


def fill(folder, classes=("cat", "dog"), count=12):
    draw = np.random.default_rng(len(str(folder)))
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 256, (4, 4, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.mark.parametrize(
    "names",
    [
        ("training_set", "validation_set"),
        ("train_set", "test_set"),
        ("Train-Set", "Test-Set"),
        ("seg_train", "seg_test"),
        ("trainset", "valset"),
        ("train2017", "val2017"),
        ("images_train", "images_val"),
    ],
)
def test_the_usual_names_of_parts_are_known(tmp_path, names):
    fill(tmp_path / names[0], count=12)
    fill(tmp_path / names[1], count=3)
    loaded = data.load(str(tmp_path))
    assert loaded.classes == ("cat", "dog")
    assert len(loaded.test) == 6
    assert len(loaded.train) + len(loaded.val) + len(loaded.calib) == 24


def test_a_part_that_was_unpacked_into_itself_is_found(tmp_path):
    fill(tmp_path / "seg_train" / "seg_train")
    fill(tmp_path / "seg_test" / "seg_test", count=3)
    loaded = data.load(str(tmp_path))
    assert (loaded.classes, len(loaded.test)) == (("cat", "dog"), 6)
    assert not any("left out" in note for note in loaded.notes)


def test_a_class_may_be_called_like_a_part(tmp_path):
    fill(tmp_path, ("test_images", "train2017", "val-set"))
    assert data.load(str(tmp_path)).classes == ("test_images", "train2017", "val-set")


@pytest.mark.parametrize("names", [("tr", "te"), ("learn", "check"), ("0", "1")])
def test_folders_of_folders_are_no_classes(tmp_path, names):
    for name in names:
        fill(tmp_path / name, count=2)
    with pytest.raises(InputError, match="holds folders and no files: a part, or a class") as found:
        data.load(str(tmp_path))
    assert found.value.hint.startswith("name parts train, test and val, each with one folder a")


def test_a_class_whose_name_is_no_utf_8_is_refused(tmp_path):
    fill(tmp_path)
    (tmp_path / "cat").rename(os.fsdecode(bytes(tmp_path / "caf") + b"\xe9"))
    with pytest.raises(InputError) as caught:
        data.load(str(tmp_path))
    assert caught.value.message.endswith("caf\\xe9: its name is not UTF-8")


def test_a_data_set_whose_name_is_no_utf_8_is_refused(tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9")
    for load in (data.load, lambda name: data.load_samples(name, 0)):
        with pytest.raises(InputError, match="its name is not UTF-8"):
            load(name)
