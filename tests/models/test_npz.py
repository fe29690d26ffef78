"""NumPy archives."""

import zipfile

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.models.data.limits import DATA
from edgekiln.models.data.unlabelled import is_unlabelled
from edgekiln.runtime.errors import ConfigError, InputError

BOUNDS = "labels are ≥ 0 and below 2147483648; number the classes from 0"
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), np.uint8)
LABELS = np.arange(60) % 3


@pytest.mark.parametrize("keys", [("x_train", "y_train"), ("x", "y"), ("images", "labels")])
def test_the_usual_names_are_read(tmp_path, keys):
    path = tmp_path / "d.npz"
    np.savez(path, **dict(zip(keys, (IMAGES, LABELS), strict=True)))
    loaded = data.load(str(path))
    assert loaded.classes == ("0", "1", "2")
    assert {sample.tobytes() for sample in loaded.test.x} < {sample.tobytes() for sample in IMAGES}


def test_a_name_in_capitals_is_as_good(tmp_path):
    """As file systems of cameras and cards write it; samples without labels likewise."""
    pixels = np.zeros((20, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "small.npz", x=pixels, y=np.arange(20) % 2)
    (tmp_path / "small.npz").rename(tmp_path / "CARD.NPZ")
    assert data.load(str(tmp_path / "CARD.NPZ")).classes == ("0", "1")
    np.save(tmp_path / "small.npy", pixels)
    (tmp_path / "small.npy").rename(tmp_path / "CARD.NPY")
    assert is_unlabelled(str(tmp_path / "CARD.NPY"))


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
            "add y: one class index a sample; without labels they can --calibrate",
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
            {"x": IMAGES.astype(np.int16), "y": LABELS},
            "x: samples are int16 of shape (60, 4, 4, 3)",
            "images are uint8 (N, H, W) or (N, H, W, 1 or 3); other samples are floats (N, …)",
        ),
        (
            {"x": np.zeros((60, 12), np.int64), "y": LABELS},
            "x: samples are int64 of shape (60, 12)",
            (
                "labelled samples are images or floats; numbers of tokens can --calibrate without "
                "labels, and are labelled as text: reviews.csv?text=…&vocabulary=…"
            ),
        ),
        (
            {"x": IMAGES, "y": np.eye(3)[LABELS]},
            "x: labels are float64 of shape (60, 3), expected integers of shape (N,)",
            (
                "one class index a sample; one-hot labels: y.argmax(1); where both are a model's "
                "inputs, and no labels: ?inputs=x,y"
            ),
        ),
        ({"x": IMAGES, "y": LABELS - 1}, "x: label -1 is out of range", BOUNDS),
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
    assert caught.value.message == (
        f"{path}: x.npy: not a NumPy array: "
        "it holds Python objects, which could run any program when loaded"
    )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_a_damaged_archive_is_refused(tmp_path, content):
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    assert caught.value.message.startswith(f"{path}: not an archive of NumPy arrays: ")


def _refused(path):
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    return caught.value.message, caught.value.hint


def test_a_cut_archive_is_refused(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=IMAGES, y=LABELS)
    whole = bytearray(path.read_bytes())
    whole[200:1000] = bytes(800)
    path.write_bytes(whole)
    message, hint = _refused(path)
    assert message.startswith(f"{path}: x.npy: not a NumPy array: ")
    assert hint


def _npy(header, data=b""):
    text = f"{header}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 8, 8)}",
            "uint8 (1099511627776, 8, 8) takes 70368744177664 bytes, 8 are there",
        ),
        (
            "{'descr': '|u1', 'fortran_order': False, 'shape': (-8,)}",
            "its shape (-8,) holds what is no extent",
        ),
        (
            "{'descr': '|u1', 'fortran_order': False, 'shape': \xff8,)}",
            "its header is no dictionary",
        ),
        (
            "{'descr': '|u1', 'fortran_order': False}",
            "its header has not the keys descr, fortran_order, shape",
        ),
        ("{'descr': '|u1,'", "its header is no dictionary"),
        (
            "{'descr': '|V8', 'fortran_order': False, 'shape': (1,)}",
            "its type '|V8' is no plain number",
        ),
    ],
)
def test_a_header_is_believed_only_if_the_data_bears_it_out(tmp_path, header, message):
    path = tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", _npy(header, bytes(8)))
    assert _refused(path)[0] == f"{path}: x.npy: not a NumPy array: {message}"


def test_a_member_compressed_otherwise_is_refused(tmp_path):
    path = tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", _npy("{}"))
    assert _refused(path)[0] == (
        f"{path}: x.npy: not a NumPy array: it is compressed as NumPy compresses nothing"
    )


def test_an_archive_too_large_to_hold_is_refused_unless_the_limit_is_raised(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"  # 4 MiB of zeros in a few kilobytes
    np.savez_compressed(path, x=np.zeros((1 << 16, 8, 8), np.uint8), y=np.arange(1 << 16) % 2)
    monkeypatch.setenv(DATA.variable, str(1 << 20))
    message, hint = _refused(path)
    assert message == f"{path}: 4718848 bytes, a data set may have 1048576"
    assert hint == (
        "save fewer samples; "
        "if that is meant, set EDGEKILN_MAX_DATA_BYTES to a larger number of bytes"
    )
    monkeypatch.setenv(DATA.variable, str(1 << 23))
    assert len(data.load(str(path)).classes) == 2


@pytest.mark.parametrize("text", ["much", "0", "-1", "0.5", "inf"])
def test_a_limit_that_is_no_size_is_named(tmp_path, monkeypatch, text):
    path = tmp_path / "d.npz"
    np.savez(path, x=IMAGES, y=LABELS)
    monkeypatch.setenv(DATA.variable, text)
    with pytest.raises(ConfigError, match=f"EDGEKILN_MAX_DATA_BYTES = '{text}'"):
        data.load(str(path))


@pytest.mark.parametrize("label", [1000, 10**9])
def test_a_label_far_beyond_the_samples_is_refused(tmp_path, label):
    path = tmp_path / "d.npz"
    np.savez(path, x=IMAGES, y=np.where(np.arange(60) == 7, label, LABELS))
    assert _refused(path) == (
        f"{path}: label {label} among 60 samples",
        "labels count from 0, and every class needs samples; of numbers: --task regression",
    )


def test_a_label_of_64_bits_is_refused(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=IMAGES, y=np.where(np.arange(60) == 7, 2**64 - 1, LABELS.astype(np.uint64)))
    assert _refused(path)[0] == f"{path}: x: label {2**64 - 1} is out of range"


def test_floats_beyond_float32_are_not_finite(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.full((60, 3), 1e300), y=LABELS)
    assert _refused(path) == (f"{path}: x: holds values that are not finite", "remove them")


def test_samples_of_no_pixels_are_refused(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((60, 0, 4), np.uint8), y=LABELS)
    assert _refused(path)[0] == f"{path}: x: samples of shape (0, 4, 1) hold nothing"


def test_a_single_class_is_refused(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=IMAGES, y=np.zeros(60, np.int64))
    assert _refused(path) == (
        f"{path}: all samples are of one class: 0",
        "classification needs two or more; vectors without labels are reconstructed",
    )


def test_a_validation_part_is_used_and_other_arrays_are_named(tmp_path):
    path = tmp_path / "d.npz"
    held_out = IMAGES[:6] ^ 255
    np.savez(path, x=IMAGES, y=LABELS, x_val=held_out, y_val=LABELS[:6], extra=IMAGES)
    loaded = data.load(str(path))
    assert {s.tobytes() for s in loaded.val.x} == {s.tobytes() for s in held_out}
    assert len(loaded.train) + len(loaded.calib) + len(loaded.test) == 60
    assert loaded.notes == ("arrays left out: extra",)
