"""Images of more than 8 bits show the picture that the same image of 8 bits shows."""

import numpy as np
import pytest
from PIL import Image

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.images import read_image

RAMP = np.linspace(0, 255, 24).round().astype(np.uint8).reshape(4, 6)  # from black to white


def _saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def _read(path, color="L"):
    return read_image(path, 4, 6, color)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bits_are_scaled_and_not_clamped(tmp_path, suffix):
    path = _saved(tmp_path / f"deep{suffix}", RAMP.astype(np.uint16) * 257)
    assert np.array_equal(_read(path)[..., 0], RAMP)
    assert np.array_equal(_read(path, "RGB"), np.repeat(RAMP[..., None], 3, 2))


def test_floats_from_0_to_1_are_black_to_white(tmp_path):
    path = _saved(tmp_path / "float.tif", RAMP.astype(np.float32) / 255)
    assert np.array_equal(_read(path)[..., 0], RAMP)


def test_signed_32_bits_are_scaled_by_their_own_white(tmp_path):
    scaled = np.round(RAMP.astype(np.float64) * (2**31 - 1) / 255).astype(np.int32)
    path = _saved(tmp_path / "wide.tif", scaled)
    assert np.array_equal(_read(path)[..., 0], RAMP)


@pytest.mark.parametrize(
    ("dtype", "sample_format", "photometric"),
    [("<u4", 1, 1), ("<i4", 2, 1), ("<i2", 2, 1), ("<u2", 1, 0), ("<f4", 3, 0)],
)
def test_every_kind_of_tiff_sample_is_scaled_by_its_own_white(
    tmp_path, dtype, sample_format, photometric
):
    kind = np.dtype(dtype)
    white = 1 if kind.kind == "f" else np.iinfo(kind).max
    light = RAMP / 255 if photometric else 1 - RAMP / 255
    pixels = light * white if kind.kind == "f" else np.round(light * float(white))
    path = tmp_path / "samples.tif"
    path.write_bytes(_tiff(pixels.astype(kind), sample_format, photometric))
    assert np.array_equal(_read(path)[..., 0], RAMP)


def _tiff(pixels, sample_format, photometric):
    """A little-endian TIFF of one strip, which Pillow cannot write for all of these samples."""
    height, width = pixels.shape
    entries = {
        256: width,
        257: height,
        258: 8 * pixels.dtype.itemsize,
        259: 1,  # not compressed
        262: photometric,
        273: 8,  # where the strip begins
        277: 1,
        278: height,
        279: pixels.nbytes,
        339: sample_format,
    }
    directory = np.uint16(len(entries)).tobytes()
    for tag, value in entries.items():
        directory += np.array([tag, 4], "<u2").tobytes() + np.array([1, value], "<u4").tobytes()
    header = b"II*\0" + np.uint32(8 + pixels.nbytes).tobytes()
    return header + pixels.tobytes() + directory + bytes(4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colors_of_8_bits_stay_as_they_are(tmp_path, mode):
    colors = np.random.default_rng(0).integers(0, 256, (4, 6, len(mode)), np.uint8)
    path = _saved(tmp_path / "colors.png", colors)
    assert np.array_equal(_read(path, "RGB"), colors[..., :3])


def test_a_deep_image_lying_on_its_side_is_turned(tmp_path):
    sideways = Image.fromarray(np.rot90(RAMP).astype(np.uint16) * 257)
    exif = sideways.getexif()
    exif[0x0112] = 6  # turn it by 90° clockwise
    sideways.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(_read(tmp_path / "turned.png")[..., 0], RAMP)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-1, 1), (0, np.nan)])
def test_floats_of_another_range_are_refused(tmp_path, low, high):
    pixels = np.full((4, 6), low, np.float32)
    pixels[0, 0] = high
    path = _saved(tmp_path / "float.tif", pixels)
    with pytest.raises(InputError) as caught:
        _read(path)
    assert caught.value.message.startswith(f"{path}: float pixels from ")
    assert caught.value.message.endswith(", expected 0 (black) to 1 (white)")
    assert caught.value.hint == "scale them, or save the image with 8 or 16 bits"


def test_negative_pixels_are_refused(tmp_path):
    path = _saved(tmp_path / "signed.tif", np.full((4, 6), -3, np.int32))
    with pytest.raises(InputError) as caught:
        _read(path)
    assert caught.value.message == f"{path}: a pixel is -3, expected 0 (black) or more"
