"""NumPy archives."""

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.runtime.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), np.uint8)
LABELS = np.arange(60) % 3


@pytest.mark.parametrize("keys", [("x_train", "y_train"), ("x", "y"), ("images", "labels")])
def test_the_usual_names_are_read(tmp_path, keys):
    path = tmp_path / "d.npz"
    np.savez(path, **dict(zip(keys, (IMAGES, LABELS), strict=True)))
    loaded = data.load(str(path))
    assert loaded.classes == ("0", "1", "2")
    assert {sample.tobytes() for sample in loaded.test.x} < {sample.tobytes() for sample in IMAGES}


def test_class_names_are_read(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=IMAGES, y=LABELS[:, None], classes=np.array(["cat", "dog", "owl"]))
    assert data.load(str(path)).classes == ("cat", "dog", "owl")


def test_vectors_are_classified_or_without_labels_reconstructed(tmp_path):
    path = tmp_path / "d.npz"
    vectors = np.random.default_rng(0).normal(size=(60, 5))
    np.savez(path, x=vectors, y=LABELS)
    assert data.load(str(path)).task == "classification"
    np.savez(path, x_train=vectors)
    loaded = data.load(str(path))
    assert loaded.task == "reconstruction"
    assert loaded.train.x.dtype == np.float32
    assert loaded.input_shape == (5,)


@pytest.mark.parametrize(
    ("arrays", "message", "hint"),
    [
        (
            {"a": IMAGES, "b": LABELS},
            "has no samples; its arrays are a, b",
            "name them x_train, y_train, x_test, y_test; or x, y",
        ),
        (
            {"x": IMAGES},
            "x has no labels",
            "add y: one class index a sample",
        ),
        (
            {"x": IMAGES, "y": LABELS[:59]},
            "x: 60 samples and 59 labels",
            "one label a sample",
        ),
        (
            {"x": IMAGES.transpose(0, 3, 1, 2), "y": LABELS},
            "x: samples are uint8 of shape (60, 3, 4, 4)",
            "put the channels last: x.transpose(0, 2, 3, 1)",
        ),
        (
            {"x": IMAGES / 255, "y": LABELS},
            "x: samples are float64 of shape (60, 4, 4, 3)",
            "images are uint8 (N, H, W) or (N, H, W, 1 or 3); vectors are floats (N, F)",
        ),
        (
            {"x": IMAGES, "y": np.eye(3)[LABELS]},
            "x: labels are float64 of shape (60, 3), expected integers of shape (N,)",
            "one class index a sample; one-hot labels: y.argmax(1)",
        ),
        ({"x": IMAGES, "y": LABELS - 1}, "x: label -1 is out of range", "labels are ≥ 0"),
        (
            {"x": IMAGES, "y": LABELS, "classes": np.array(["cat", "dog"])},
            "label 2 is out of range: 2 classes are named",
            "labels count from 0",
        ),
        (
            {"x": np.full((60, 5), np.nan), "y": LABELS},
            "x: holds values that are not finite",
            "remove them",
        ),
        (
            {"x": IMAGES, "y": LABELS, "x_test": IMAGES[:, :2], "y_test": LABELS},
            "x_test holds samples of shape (2, 4, 3), x of (4, 4, 3)",
            "all samples need one shape",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_path(tmp_path, arrays, message, hint):
    path = tmp_path / "d.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    assert (caught.value.message, caught.value.hint) == (f"{path}: {message}", hint)


def test_an_archive_with_pickled_objects_is_refused(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object), y=LABELS)
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    assert caught.value.message == f"{path}: holds Python objects, not only arrays"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_a_damaged_archive_is_refused(tmp_path, content):
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    assert caught.value.message == f"{path}: not a NumPy archive, or damaged"


def test_a_cut_archive_is_refused(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=IMAGES, y=LABELS)
    whole = bytearray(path.read_bytes())
    whole[200:1000] = bytes(800)
    path.write_bytes(whole)
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    assert caught.value.message == f"{path}: not a NumPy archive, or damaged"
