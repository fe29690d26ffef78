"""Image files of every depth become the same pixels."""

import struct

import numpy as np
import pytest

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.images import read_image
from edgekiln.runtime.inputs import load_input
from edgekiln.runtime.manifest import Preprocessing, TensorSpec

GREY = TensorSpec(
    name="x", shape=(1, 1, 6, 8), dtype="float32",
    preprocessing=Preprocessing(scale=1.0, color="L"),
)  # fmt: skip
PICTURE = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5 + 10  # 10 to 245


def tiff(path, values, **options):
    pytest.importorskip("PIL.Image").fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "values", "options"),
    [
        ("p8.png", PICTURE, {}),
        ("p16.png", PICTURE.astype(np.uint16) * 257, {}),
        ("p16.tif", PICTURE.astype(np.uint16) * 257, {}),
        ("p31.tif", PICTURE.astype(np.int64) * ((1 << 31) - 1) // 255, {}),
        ("f1.tif", PICTURE.astype(np.float32) / 255, {}),
    ],
)
def test_a_picture_is_the_same_in_every_depth(tmp_path, name, values, options):
    if values.dtype == np.int64:
        values = values.astype(np.uint32).view(np.int32)
    path = tiff(tmp_path / name, values, **options)
    np.testing.assert_array_equal(load_input(path, GREY)[0, 0], PICTURE)
    colored = read_image(path, 6, 8, "RGB")
    np.testing.assert_array_equal(colored, np.repeat(PICTURE[..., None], 3, 2))


def test_unsigned_pixels_of_32_bits_are_not_taken_for_negative_ones(tmp_path):
    pytest.importorskip("PIL.Image")
    values = (PICTURE.astype(np.uint64) * ((1 << 32) - 1) // 255).astype("<u4")
    entries = {
        256: values.shape[1], 257: values.shape[0], 258: 32, 259: 1, 262: 1,
        273: 8, 277: 1, 278: values.shape[0], 279: values.nbytes, 339: 1,
    }  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    header = b"II*\0" + struct.pack("<I", 8 + values.nbytes)
    directory = struct.pack("<H", len(entries)) + table + bytes(4)
    (tmp_path / "p32.tif").write_bytes(header + values.tobytes() + directory)
    np.testing.assert_array_equal(load_input(tmp_path / "p32.tif", GREY)[0, 0], PICTURE)


@pytest.mark.parametrize("values", [-1.0, 1e9, np.nan, np.inf])
def test_pixels_without_a_white_are_refused(tmp_path, values):
    path = tiff(tmp_path / "x.tif", np.full((6, 8), values, np.float32))
    with pytest.raises(InputError, match=r"x\.tif: float pixels from"):
        load_input(path, GREY)
