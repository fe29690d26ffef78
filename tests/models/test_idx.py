"""MNIST's IDX files."""

import gzip

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.runtime.errors import InputError

NAMES = {"train": "train-{}-idx{}-ubyte", "test": "t10k-{}-idx{}-ubyte"}


def _idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def _write(folder, part, images, labels, *, zipped=False):
    for what, array in (("images", images), ("labels", labels)):
        name = NAMES[part].format(what, array.ndim)
        content = _idx(array)
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.fixture
def mnist():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (60, 5, 4), np.uint8), np.arange(60, dtype=np.uint8) % 3


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_of_four_files_is_read(tmp_path, mnist, zipped):
    images, labels = mnist
    _write(tmp_path, "train", images[:40], labels[:40], zipped=zipped)
    _write(tmp_path, "test", images[40:], labels[40:], zipped=zipped)
    loaded = data.load(str(tmp_path))
    assert {s.tobytes() for s in loaded.test.x} == {s.tobytes() for s in images[40:]}
    assert loaded.input_shape == (1, 5, 4)
    assert loaded.classes == ("0", "1", "2")


def test_one_images_file_finds_its_labels(tmp_path, mnist):
    _write(tmp_path, "train", *mnist, zipped=True)
    assert len(data.load(str(tmp_path / "train-images-idx3-ubyte.gz")).test) == 12


def _refused(path):
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    return caught.value.message, caught.value.hint


def test_images_without_labels_are_refused(tmp_path, mnist):
    _write(tmp_path, "train", *mnist)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    path = tmp_path / "train-images-idx3-ubyte"
    assert _refused(tmp_path) == (
        f"{path}: no labels beside it",
        "expected train-labels-idx1-ubyte",
    )


def test_a_file_shorter_than_its_header_says_is_refused(tmp_path, mnist):
    _write(tmp_path, "train", *mnist)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    assert _refused(tmp_path) == (
        f"{path}: 1195 bytes of data, its header says 1200",
        "is it complete?",
    )


def test_a_file_of_another_format_is_refused(tmp_path, mnist):
    _write(tmp_path, "train", *mnist)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(b"<html>not found</html>")
    assert _refused(tmp_path)[0] == f"{path}: not an IDX file of 3-dimensional bytes"


def test_a_damaged_gzip_file_is_refused(tmp_path, mnist):
    _write(tmp_path, "train", *mnist, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:100])
    assert _refused(tmp_path) == (f"{path}: damaged gzip file", "is the file complete?")


def test_counts_that_differ_are_refused(tmp_path, mnist):
    images, labels = mnist
    _write(tmp_path, "train", images, labels[:50])
    path = tmp_path / "train-images-idx3-ubyte"
    assert _refused(tmp_path)[0] == f"{path}: 60 samples and 50 labels"


@pytest.mark.data
def test_fashion_mnist_is_read(shared_data):
    loaded = data.load(f"{shared_data / 'fashion_mnist'}?limit=1000")
    assert [len(p) for p in (loaded.train, loaded.val, loaded.calib, loaded.test)] == [
        800,
        100,
        100,
        1000,
    ]
    assert loaded.input_shape == (1, 28, 28)
