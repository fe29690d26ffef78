"""Folders of images, real files written by Pillow."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekiln.models import data
from edgekiln.models.data.limits import DATA
from edgekiln.runtime.errors import InputError

COLORS = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}


def _fill(folder, *, count=20, size=(8, 6), suffix=".png", first=0):
    """`count` images a class, each of its own shade."""
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(first, first + count):
            shade = tuple(max(0, value - number) for value in color)
            Image.new("RGB", size, shade).save(folder / name / f"{number}{suffix}")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    _fill(folder)
    return folder


def test_classes_are_the_folders_in_alphabetical_order(photos):
    (photos / ".hidden").mkdir()
    (photos / "readme.txt").write_text("three colors")
    (photos / "red" / "notes.txt").write_text("not an image")
    loaded = data.load(str(photos))
    assert loaded.classes == ("blue", "green", "red")
    assert loaded.train.x.shape == (36, 6, 8, 3)
    for image, label in zip(loaded.train.x, loaded.train.y, strict=True):
        assert image[0, 0].argmax() == 2 - label  # blue is class 0 and channel 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".ppm", ".webp", ".TIFF"])
def test_the_usual_formats_are_read(tmp_path, suffix):
    _fill(tmp_path, count=10, suffix=suffix)
    assert data.load(str(tmp_path)).train.x.shape == (18, 6, 8, 3)


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_train_and_test_folders_are_kept_apart(tmp_path, held_out):
    _fill(tmp_path / "train", count=20)
    _fill(tmp_path / held_out, count=3, first=100)
    loaded = data.load(str(tmp_path))
    assert sorted(loaded.test.x.max(axis=(1, 2, 3))) == [148] * 3 + [149] * 3 + [150] * 3
    assert loaded.train.x.max(axis=(1, 2, 3)).min() > 200


def test_images_are_resized_and_recolored_as_asked(photos):
    loaded = data.load(f"{photos}?size=4x5&color=L")
    assert loaded.train.x.shape[1:] == (4, 5, 1)
    assert loaded.preprocessing.color == "L"


def test_a_limit_keeps_every_class(photos):
    loaded = data.load(f"{photos}?limit=30")
    assert len(loaded.train) + len(loaded.val) + len(loaded.calib) + len(loaded.test) == 30
    assert set(loaded.train.y) == {0, 1, 2}


def test_a_photo_that_lies_on_its_side_is_turned(photos):
    for image in (photos / "red").iterdir():
        sideways = Image.new("RGB", (6, 8), (250, 0, 0))
        exif = sideways.getexif()
        exif[0x0112] = 6  # the camera was turned by 90°
        sideways.save(image.with_suffix(".jpg"), exif=exif)
        image.unlink()
    assert data.load(str(photos)).train.x.shape == (36, 6, 8, 3)


def _refused(path):
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    return caught.value.message, caught.value.hint


def test_images_of_several_sizes_need_the_option_size(photos):
    odd = photos / "green" / "odd.png"
    Image.new("RGB", (9, 6)).save(odd)
    assert _refused(photos) == (
        f"{odd}: is 6×9, {photos / 'blue' / '0.png'} is 6×8",
        "resize all images: add ?size=96",
    )
    assert len(data.load(f"{photos}?size=8").classes) == 3


@pytest.mark.parametrize("options", ["", "?size=8"])
def test_a_corrupt_image_is_named(photos, options):
    corrupt = photos / "green" / "3.png"
    corrupt.write_bytes(b"not a PNG file")
    message, hint = _refused(f"{photos}{options}")
    assert message.startswith(f"{corrupt}: cannot read this image: ")
    assert hint == "is the path right, and the file a complete image?"


def test_a_cut_image_is_named(photos):
    cut = photos / "green" / "3.png"
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:-60])
    assert _refused(photos)[0].startswith(f"{cut}: cannot read this image: ")


def test_an_empty_folder_is_refused(tmp_path):
    assert _refused(tmp_path) == (
        f"{tmp_path}: no class folders in it",
        "one folder a class: photos/cat/1.png",
    )


def test_a_class_without_images_is_named(photos):
    (photos / "yellow").mkdir()
    message, hint = _refused(photos)
    assert message == f"{photos / 'yellow'}: no images in it"
    assert hint.startswith("images are .bmp, .gif, ")


def test_a_class_of_the_test_part_only_is_named(tmp_path):
    _fill(tmp_path / "train")
    _fill(tmp_path / "test")
    (tmp_path / "test" / "red").rename(tmp_path / "test" / "scarlet")
    assert _refused(tmp_path) == (
        f"{tmp_path / 'test'}: class scarlet is in the test part only",
        f"add training images of it to {tmp_path / 'train'}",
    )


def test_more_pixels_than_memory_should_hold_are_refused_before_decoding(photos, monkeypatch):
    monkeypatch.setenv(DATA.variable, str(1 << 30))
    message, hint = _refused(f"{photos}?size=4096")
    assert message == f"{photos}: 3019898880 bytes, a data set may have 1073741824"
    assert hint == (
        "load fewer or smaller images: ?limit=50000&size=96; "
        "if that is meant, set EDGEKILN_MAX_DATA_BYTES to a larger number of bytes"
    )


def test_more_pixels_than_memory_should_hold_are_refused_before_resizing():
    message, _ = _refused("digits?size=100000")
    assert message.startswith("digits: ")
    assert message.endswith(" bytes, a data set may have 4294967296")


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("TRAIN", "val"), ("training", "Testing")]
)
def test_folders_of_parts_are_known_in_upper_and_lower_case(tmp_path, train, test):
    _fill(tmp_path / train, count=20)
    _fill(tmp_path / test, count=3, first=100)
    loaded = data.load(str(tmp_path))
    assert loaded.classes == ("blue", "green", "red")
    assert len(loaded.test) == 9
    assert loaded.train.x.max(axis=(1, 2, 3)).min() > 200


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_a_validation_folder_beside_a_test_folder_is_the_validation_split(tmp_path, name):
    _fill(tmp_path / "train", count=20)
    _fill(tmp_path / "test", count=3, first=100)
    _fill(tmp_path / name, count=4, first=150)
    loaded = data.load(str(tmp_path))
    assert [len(p) for p in (loaded.train, loaded.val, loaded.calib, loaded.test)] == [54, 12, 6, 9]
    assert loaded.val.x.max(axis=(1, 2, 3)).max() == 100
    assert loaded.notes == ()


def test_folders_that_are_no_part_and_a_test_part_by_another_name_are_said(tmp_path):
    for part in ("train", "valid", "spare"):
        _fill(tmp_path / part, count=6)
    assert data.load(str(tmp_path)).notes[:2] == (
        "valid is the test part: there is no folder test",
        "folders beside train left out: spare",
    )


def test_two_folders_of_one_part_are_refused(tmp_path):
    for part in ("train", "val", "valid"):
        _fill(tmp_path / part, count=2)
    assert _refused(tmp_path) == (
        f"{tmp_path}: val and valid are both the val part",
        "keep one of them, or put them together",
    )


@pytest.mark.parametrize("others", [("Val",), ("red",)])
def test_a_test_folder_without_a_train_folder_is_refused(tmp_path, others):
    for part in ("Test", *others):
        _fill(tmp_path / part, count=2)
    names = "Test and Val" if others == ("Val",) else "Test"
    assert _refused(tmp_path) == (
        f"{tmp_path}: {names} without a train part",
        f"name the folder with the training images {tmp_path / 'train'}",
    )


def test_a_class_may_be_called_test(tmp_path):
    _fill(tmp_path)
    (tmp_path / "red").rename(tmp_path / "test")
    assert data.load(str(tmp_path)).classes == ("blue", "green", "test")


def test_a_single_class_is_refused(tmp_path):
    _fill(tmp_path)
    for name in ("green", "red"):
        shutil.rmtree(tmp_path / name)
    assert _refused(tmp_path)[0] == f"{tmp_path}: all samples are of one class: blue"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_images_of_16_bits_are_as_bright_as_those_of_8(tmp_path, suffix):
    for name, level in (("dark", 30), ("light", 200)):
        (tmp_path / name).mkdir()
        for number in range(10):
            pixels = np.full((4, 4), level + number, np.uint16) * 257
            Image.fromarray(pixels).save(tmp_path / name / f"{number}{suffix}")
    loaded = data.load(f"{tmp_path}?color=L")
    assert np.unique(loaded.train.x[loaded.train.y == 0]).max() <= 39
    assert set(np.unique(loaded.train.x[loaded.train.y == 1])) <= set(range(200, 210))


# Run as another user where this one may read everything.
_LOAD = """
import os, sys
import PIL.Image
from edgekiln.models import data
from edgekiln.runtime.errors import InputError
if os.geteuid() == 0:
    os.setuid(65534)
try:
    data.load(sys.argv[1])
except InputError as error:
    print(error.message)
"""


@pytest.mark.parametrize("folder", ["", "green", "green/deep"])
def test_a_folder_that_may_not_be_read_is_named_and_not_left_out(folder):
    with tempfile.TemporaryDirectory() as home:  # pytest's own is closed to other users
        Path(home).chmod(0o755)
        photos = Path(home) / "photos"
        _fill(photos, count=4)
        (photos / "green" / "deep").mkdir()
        closed = photos / folder
        closed.chmod(0)
        try:
            command = [sys.executable, "-c", _LOAD, str(photos)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
        finally:
            closed.chmod(0o755)
    assert run.stdout == f"{closed}: cannot be read: Permission denied\n"
