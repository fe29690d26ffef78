"""CIFAR as published, made small: the files' own layout, few images."""

import pickle

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.runtime.errors import InputError

NAMES = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PER_FILE = 20


def _batch(seed, classes=10):
    random = np.random.default_rng(seed)
    labels = np.resize(np.arange(classes), max(PER_FILE, classes))
    return random.integers(0, 256, (len(labels), 32, 32, 3), np.uint8), labels


def _planes(images):
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def _write_python(folder, files, labels_key=b"labels", classes=10):
    """As Python 2 wrote them: protocol 2, keys of bytes."""
    for seed, name in enumerate(files):
        images, labels = _batch(seed, classes)
        content = {b"data": _planes(images), labels_key: labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def _write_binary(folder, files):
    for seed, name in enumerate(files):
        images, labels = _batch(seed)
        records = np.concatenate([labels[:, None].astype(np.uint8), _planes(images)], axis=1)
        (folder / name).write_bytes(records.tobytes())


BATCHES = [f"data_batch_{number}" for number in range(1, 6)]


@pytest.fixture
def python_version(tmp_path):
    _write_python(tmp_path, [*BATCHES, "test_batch"])
    meta = {b"label_names": [name.encode() for name in NAMES]}
    (tmp_path / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return tmp_path


@pytest.fixture
def binary_version(tmp_path):
    _write_binary(tmp_path, [f"{name}.bin" for name in [*BATCHES, "test_batch"]])
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return tmp_path


@pytest.mark.parametrize("version", ["python_version", "binary_version"])
def test_both_versions_give_the_images_in_colour_and_upright(request, version):
    folder = request.getfixturevalue(version)
    loaded = data.load(str(folder))
    assert loaded.classes == tuple(NAMES)
    assert len(loaded.train) + len(loaded.val) + len(loaded.calib) == 5 * PER_FILE
    images, labels = _batch(5)
    expected = {(i.tobytes(), int(y)) for i, y in zip(images, labels, strict=True)}
    found = {(i.tobytes(), int(y)) for i, y in zip(loaded.test.x, loaded.test.y, strict=True)}
    assert found == expected


def test_one_batch_alone_is_read(binary_version):
    (binary_version / "data_batch_2.bin").write_bytes(
        b"".join((binary_version / f"data_batch_{n}.bin").read_bytes() for n in (1, 2, 3))
    )
    assert len(data.load(str(binary_version / "data_batch_2.bin")).test) == 12


def test_cifar_100_has_its_fine_labels(tmp_path):
    _write_python(tmp_path, ["train", "test"], b"fine_labels", 100)
    images, labels = _batch(0, 100)
    ten_each = {b"data": np.tile(_planes(images), (10, 1)), b"fine_labels": labels.tolist() * 10}
    (tmp_path / "train").write_bytes(pickle.dumps(ten_each, protocol=2))
    names = [f"thing{number}".encode() for number in range(100)]
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}, protocol=2))
    assert data.load(str(tmp_path)).classes[99] == "thing99"


def _refused(path):
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    return caught.value.message


class _Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch hacked",)


def test_a_malicious_batch_is_refused_by_name_and_not_run(python_version, monkeypatch):
    monkeypatch.chdir(python_version)
    path = python_version / "data_batch_3"
    path.write_bytes(pickle.dumps({b"data": _Evil()}))
    assert _refused(python_version) == f"{path}: refused, its pickle asks for posix.system"
    assert not (python_version / "hacked").exists()


def test_object_arrays_are_refused(python_version):
    path = python_version / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": np.array([None])}, protocol=2))
    assert _refused(python_version) == f"{path}: refused, its pickle asks for array of object"


@pytest.mark.parametrize(
    "content", [[], {b"data": np.zeros((2, 5), np.uint8)}, {b"labels": [1]}, {b"data": 3}]
)
def test_a_pickle_of_something_else_is_refused(python_version, content):
    path = python_version / "test_batch"
    path.write_bytes(pickle.dumps(content, protocol=2))
    assert _refused(python_version) == (
        f"{path}: not a CIFAR batch: no uint8 data of (N, 3072) with labels"
    )


def test_a_cut_pickle_is_refused(python_version):
    path = python_version / "data_batch_4"
    path.write_bytes(path.read_bytes()[:1000])
    assert _refused(python_version).startswith(f"{path}: ")


def test_a_cut_binary_batch_is_refused(binary_version):
    path = binary_version / "data_batch_4.bin"
    path.write_bytes(path.read_bytes()[:1000])
    assert _refused(binary_version) == (
        f"{path}: 1000 bytes are not a whole number of records of 3073 bytes"
    )


def test_a_missing_batch_is_named(binary_version):
    path = binary_version / "data_batch_4.bin"
    path.unlink()
    assert _refused(binary_version) == f"{path}: no such file"


def test_a_label_out_of_range_is_named(binary_version):
    path = binary_version / "data_batch_1.bin"
    content = bytearray(path.read_bytes())
    content[0] = 10
    path.write_bytes(content)
    assert _refused(binary_version) == f"{path}: label 10 is out of range"


def test_a_short_list_of_class_names_is_refused(binary_version):
    path = binary_version / "batches.meta.txt"
    path.write_text("plane\ncar\n")
    assert _refused(binary_version) == f"{path}: 2 class names, expected 10"
