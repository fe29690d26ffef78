import sys

import numpy as np
import pytest

from edgekiln.runtime.errors import InputError, MissingToolError
from edgekiln.runtime.inputs import fit, load_input, preprocess, quantize
from edgekiln.runtime.manifest import Preprocessing, TensorSpec

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
COLORED = TensorSpec(
    name="x",
    shape=(1, 3, 5, 7),
    dtype="float32",
    preprocessing=Preprocessing(scale=1 / 255, mean=(0.5, 0.25, 0.0), std=(1.0, 2.0, 4.0)),
)
VECTOR = TensorSpec(name="v", shape=(1, 4), dtype="float32")


def png(path, pixels, **options):
    image = pytest.importorskip("PIL.Image").fromarray(pixels)
    image.save(path, **options)
    return path


def test_pixels_are_scaled_shifted_and_divided_per_channel():
    out = preprocess(IMAGES, COLORED.preprocessing)
    assert out.shape == (2, 3, 5, 7)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    expected = (IMAGES[1, 2, 3].astype(np.float64) / 255 - (0.5, 0.25, 0)) / (1, 2, 4)
    np.testing.assert_allclose(out[1, :, 2, 3], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("layout", "shape"), [("NCHW", (2, 3, 5, 7)), ("NHWC", (2, 5, 7, 3)), ("N*", (2, 105))]
)
def test_layouts_hold_the_same_numbers(layout, shape):
    out = preprocess(IMAGES, Preprocessing(layout=layout))
    assert out.shape == shape
    planes = preprocess(IMAGES, Preprocessing())
    back = out.transpose(0, 3, 1, 2) if layout == "NHWC" else out.reshape(planes.shape)
    np.testing.assert_array_equal(back, planes)


def test_color_becomes_grey_as_pillow_does_it():
    Image = pytest.importorskip("PIL.Image")
    grey = preprocess(IMAGES, Preprocessing(color="L", scale=1.0))
    expected = np.asarray(Image.fromarray(IMAGES[0]).convert("L"))
    np.testing.assert_array_equal(grey[0, 0], expected)


def test_grey_becomes_color_by_repetition():
    grey = IMAGES[..., :1]
    out = preprocess(grey, Preprocessing(scale=1.0))
    np.testing.assert_array_equal(out, np.repeat(grey, 3, 3).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(preprocess(grey[..., 0], Preprocessing(scale=1.0)), out)


def test_vectors_keep_their_shape():
    x = DRAW.standard_normal((3, 4)).astype(np.float32)
    out = preprocess(x, Preprocessing(scale=1.0, mean=(1.0, 2.0, 3.0, 4.0), layout="N*"))
    np.testing.assert_array_equal(out, x - np.float32([1, 2, 3, 4]))


@pytest.mark.parametrize(
    ("x", "preprocessing", "message"),
    [
        (np.zeros(3), Preprocessing(), r"cannot preprocess an array of shape \(3,\)"),
        (IMAGES, Preprocessing(layout="CHWN"), "unknown layout 'CHWN'"),
        (IMAGES, Preprocessing(color="CMYK"), "unknown color 'CMYK'"),
        (IMAGES[..., :2], Preprocessing(), r"images of 2 channels, the model takes 3 \(RGB\)"),
        (IMAGES, Preprocessing(mean=(1.0, 2.0)), "2 values of mean for 3 channels"),
    ],
)
def test_what_cannot_be_preprocessed_is_said(x, preprocessing, message):
    with pytest.raises(InputError, match=message) as caught:
        preprocess(x, preprocessing)
    assert caught.value.hint


def test_real_values_round_half_to_even_and_saturate():
    spec = TensorSpec(name="q", shape=(1, 6), dtype="int8", scale=2.0, zero_point=1)
    real = np.float32([[1.0, 3.0, 5.0, -1.0, 1e9, -1e9]])
    np.testing.assert_array_equal(quantize(real, spec), [[1, 3, 3, 1, 127, -128]])
    assert quantize(real, spec).dtype == np.int8
    with pytest.raises(InputError, match="input 'q' is int8 without a scale"):
        quantize(real, TensorSpec(name="q", shape=(1, 6), dtype="int8"))


def test_a_quantized_input_takes_pixels_real_values_and_codes():
    preprocessing = Preprocessing(scale=1.0, mean=(128.0,))
    spec = TensorSpec(
        name="x", shape=(1, 3, 5, 7), dtype="int8", scale=1.0, zero_point=0,
        preprocessing=preprocessing,
    )  # fmt: skip
    codes = (IMAGES.astype(np.int16) - 128).astype(np.int8).transpose(0, 3, 1, 2)
    real = codes.astype(np.float32)
    for given in (IMAGES, real, codes):
        np.testing.assert_array_equal(fit(given, spec, "here"), codes)


def test_npy_files_are_arrays_or_pixels(tmp_path):
    x = DRAW.standard_normal((2, 3, 5, 7)).astype(np.float32)
    for array, expected in (
        (x, x),
        (x[0], x[:1]),
        (x.astype(np.float64), x),
        (IMAGES, preprocess(IMAGES, COLORED.preprocessing)),
        (IMAGES[0], preprocess(IMAGES[:1], COLORED.preprocessing)),
        (np.asfortranarray(x), x),
    ):
        np.save(tmp_path / "a.npy", array)
        read = load_input(tmp_path / "a.npy", COLORED)
        np.testing.assert_array_equal(read, expected)
        assert read.flags.c_contiguous


def test_npz_files_hold_one_array_or_the_input_s_name(tmp_path):
    x = DRAW.standard_normal((2, 4)).astype(np.float32)
    np.savez(tmp_path / "one.npz", whatever=x)
    np.savez(tmp_path / "two.npz", other=x + 1, v=x)
    np.testing.assert_array_equal(load_input(tmp_path / "one.npz", VECTOR), x)
    np.testing.assert_array_equal(load_input(tmp_path / "two.npz", VECTOR), x)
    np.savez(tmp_path / "none.npz", a=x, b=x)
    with pytest.raises(InputError, match=r"none\.npz: has no array named 'v'") as caught:
        load_input(tmp_path / "none.npz", VECTOR)
    assert caught.value.hint == "its arrays are: a, b"


def test_raw_files_hold_whole_samples(tmp_path):
    x = DRAW.standard_normal((3, 4)).astype(np.float32)
    (tmp_path / "x.bin").write_bytes(x.tobytes())
    np.testing.assert_array_equal(load_input(tmp_path / "x.bin", VECTOR), x)
    (tmp_path / "x.bin").write_bytes(x.tobytes()[:-1])
    with pytest.raises(InputError, match=r"x\.bin: 47 bytes, input 'v' takes 16 a sample"):
        load_input(tmp_path / "x.bin", VECTOR)


def test_an_image_of_the_model_s_size_is_its_pixels(tmp_path):
    path = png(tmp_path / "a.PNG", IMAGES[0])
    np.testing.assert_array_equal(
        load_input(path, COLORED), preprocess(IMAGES[:1], COLORED.preprocessing)
    )


def test_other_images_are_resized_and_turned_upright(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    half = np.zeros((100, 100, 3), np.uint8)
    half[:, :50] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: left is up
    path = png(tmp_path / "a.jpg", half, exif=exif)
    planes = load_input(path, TensorSpec(
        name="x", shape=(1, 1, 8, 8), dtype="float32", preprocessing=Preprocessing(color="L")
    ))  # fmt: skip
    assert planes.shape == (1, 1, 8, 8)
    assert planes[0, 0, :3].min() > 0.95
    assert planes[0, 0, 5:].max() < 0.05


def test_flattened_inputs_take_square_images(tmp_path):
    path = png(tmp_path / "a.png", IMAGES[0])
    spec = TensorSpec(
        name="x", shape=(1, 48), dtype="float32", preprocessing=Preprocessing(layout="N*")
    )
    assert load_input(path, spec).shape == (1, 48)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"junk", "not a NumPy array"),
        ("a.npy", b"", "not a NumPy array"),
        ("a.npz", b"junk", "not an archive of NumPy arrays"),
        ("a.npz", b"PK\x05\x06" + bytes(10), "not an archive of NumPy arrays"),
        ("a.png", b"\x89PNG\r\n\x1a\n junk", "cannot read this image"),
        ("a.jpg", b"", "cannot read this image"),
        ("a.doc", b"1 2 3", "cannot tell what this file is"),
        ("a.txt", b"1 2 3", "input 'x' is float32 (1, 3, 5, 7), and takes no text"),
        ("a.bin", b"", "0 bytes"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content, message):
    pytest.importorskip("PIL")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_input(tmp_path / name, COLORED)
    assert caught.value.message.startswith(f"{tmp_path / name}: {message}")
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_a_truncated_image_is_refused(tmp_path):
    path = png(tmp_path / "a.png", DRAW.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="cannot read this image"):
        load_input(path, COLORED)


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a NumPy array: it holds Python objects"):
        load_input(tmp_path / "a.npy", VECTOR)


def test_an_archive_by_another_name_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(3), b=np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a\.npy: holds several arrays"):
        load_input(tmp_path / "a.npy", VECTOR)


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", v=np.zeros((1 << 20, 4), np.float32))
    monkeypatch.setenv("EDGEKILN_MAX_INPUT_BYTES", "100000")
    with pytest.raises(InputError, match="16777344 bytes, an input may have 100000") as caught:
        load_input(tmp_path / "a.npz", VECTOR)
    assert "EDGEKILN_MAX_INPUT_BYTES" in caught.value.hint
    monkeypatch.delenv("EDGEKILN_MAX_INPUT_BYTES")
    assert load_input(tmp_path / "a.npz", VECTOR).shape == (1 << 20, 4)


def test_an_image_of_more_pixels_than_the_limit_allows_is_refused(tmp_path, monkeypatch):
    path = png(tmp_path / "a.png", np.zeros((200, 100, 3), np.uint8))
    monkeypatch.setenv("EDGEKILN_MAX_INPUT_BYTES", "159999")
    with pytest.raises(InputError, match="160000 bytes, an input may have 159999"):
        load_input(path, COLORED)
    monkeypatch.setenv("EDGEKILN_MAX_INPUT_BYTES", "160000")
    assert load_input(path, COLORED).shape == (1, 3, 5, 7)


def test_what_never_ends_is_refused(tmp_path):
    for suffix in ("npy", "npz", "bin", "png"):
        (tmp_path / f"x.{suffix}").symlink_to("/dev/zero")
        with pytest.raises(InputError, match="is not a regular file"):
            load_input(tmp_path / f"x.{suffix}", COLORED)


def test_nan_has_no_code():
    spec = TensorSpec(name="q", shape=(1, 2), dtype="int8", scale=2.0, zero_point=1)
    with pytest.raises(InputError, match="input 'q': NaN has no int8 code"):
        quantize(np.float32([[1.0, np.nan]]), spec)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.npy: No such file"):
        load_input(tmp_path / "none.npy", VECTOR)


def test_a_wrong_shape_names_the_path_and_both_shapes(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(InputError) as caught:
        load_input(tmp_path / "a.npy", COLORED)
    where = f"{tmp_path / 'a.npy'}: input 'x' is (N, 3, 5, 7), this array is (1, 4, 4, 3)"
    assert caught.value.message == where
    assert caught.value.hint == "give float32 (N, 3, 5, 7) or uint8 images (N, 5, 7, 3)"


def test_a_wrong_dtype_names_the_path_and_both_dtypes(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 4), np.int64))
    with pytest.raises(InputError) as caught:
        load_input(tmp_path / "a.npy", VECTOR)
    assert (
        caught.value.message == f"{tmp_path / 'a.npy'}: input 'v' is float32, this array is int64"
    )
    assert caught.value.hint == "convert it: array.astype('float32')"


def test_an_image_for_a_model_without_preprocessing_is_refused(tmp_path):
    path = png(tmp_path / "a.png", IMAGES[0])
    with pytest.raises(InputError, match=r"input 'v' \(N, 4\) has no preprocessing for images"):
        load_input(path, VECTOR)


def test_images_without_pillow_name_the_command_that_installs_it(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingToolError, match="reading images needs Pillow") as caught:
        load_input(tmp_path / "a.png", COLORED)
    assert caught.value.hint == "pip install 'pillow>=10'"
    assert caught.value.exit_code == 5
