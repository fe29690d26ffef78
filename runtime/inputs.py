"""From what a user has (arrays, images, raw bytes) to what a program takes."""

import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import EdgeKilnError, InputError, MissingToolError
from edgekiln.runtime.pixels import upright_8_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import Preprocessing, TensorSpec

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
)
CHANNELS = {"L": 1, "RGB": 3}


def preprocess(x: "NDArray[np.generic]", preprocessing: "Preprocessing") -> "NDArray[np.float32]":
    """Turn pixels into a model's float input: (pixel * scale - mean) / std per channel, in float32.

    Args:
        x: images (N, H, W, C) or (N, H, W), or vectors (N, F), which keep their shape.
        preprocessing: `mean` and `std` have one value or one a channel (vectors: one a feature).

    Returns:
        (N, C, H, W) for "NCHW", (N, H, W, C) for "NHWC", (N, C*H*W) in NCHW's order for "N*".

    Raises:
        InputError: the rank, the number of channels or the layout fits nothing.
    """
    if x.ndim == 2:
        return _normalize(x, preprocessing)
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4:
        raise InputError(
            f"cannot preprocess an array of shape {x.shape}",
            hint="images are (N, H, W, C), vectors are (N, F)",
        )
    images = _normalize(recolor(x, preprocessing.color), preprocessing)
    if preprocessing.layout == "NHWC":
        return images
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if preprocessing.layout == "NCHW":
        return planes
    if preprocessing.layout == "N*":
        return planes.reshape(len(planes), -1)
    raise InputError(f"unknown layout {preprocessing.layout!r}", hint="layouts are: NCHW, NHWC, N*")


def load_input(path: Path, spec: "TensorSpec") -> "NDArray[np.generic]":
    """Read a file as input of a program: (N, *spec.shape[1:]) of spec.dtype, C order.

    `.npy`, `.npz` (never pickled), raw `.bin` in the input's own dtype and shape, or an image,
    which is resized to the model's input. uint8 images in an array are preprocessed as well.

    Raises:
        InputError: unreadable, or another shape or dtype than the program's.
        MissingToolError: an image without Pillow.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="--input takes .npy, .npz, .bin or an image")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return fit(_read_npy(path), spec, str(path))
    if suffix == ".npz":
        return fit(_read_npz(path, spec), spec, str(path))
    if suffix == ".bin":
        return _read_raw(path, spec)
    if suffix in IMAGE_SUFFIXES:
        return _read_as_image(path, spec)
    raise InputError(
        f"{path}: cannot tell what this file is",
        hint=f"inputs are .npy, .npz, .bin, {', '.join(sorted(IMAGE_SUFFIXES))}",
    )


def fit(array: "NDArray[np.generic]", spec: "TensorSpec", where: str) -> "NDArray[np.generic]":
    """Bring an array to (N, *spec.shape[1:]) of spec.dtype without guessing.

    Taken: the input's own shape with any batch or none; float64 for float32; and, when the input
    has preprocessing, uint8 images (N, H, W, C) or one (H, W, C), which are preprocessed.

    Raises:
        InputError: anything else; the message starts with `where` and names both shapes.
    """
    per_sample = spec.shape[1:]
    if spec.preprocessing is not None and array.dtype == np.uint8 and spec.dtype != "uint8":
        sized = _as_images(array, spec)
        if sized is not None:
            return quantize(preprocess(sized, spec.preprocessing), spec)
    if array.shape == per_sample:
        array = array[None]
    if array.ndim == 0 or array.shape[1:] != per_sample or len(array) == 0:
        raise InputError(
            f"{where}: input {spec.name!r} is {_shape_text(spec)}, this array is {array.shape}",
            hint=_shape_hint(spec),
        )
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f" and (wanted.kind == "f" or spec.scale is not None):
        return quantize(np.ascontiguousarray(array, dtype=np.float32), spec)
    raise InputError(
        f"{where}: input {spec.name!r} is {spec.dtype}, this array is {array.dtype}",
        hint=f"convert it: array.astype({spec.dtype!r})",
    )


def quantize(real: "NDArray[np.float32]", spec: "TensorSpec") -> "NDArray[np.generic]":
    """To the input's dtype; if quantized, q = saturate(round_half_even(x / scale) + zero_point)."""
    wanted = np.dtype(spec.dtype)
    if wanted.kind not in "iu":
        return real.astype(wanted, copy=False)
    if spec.scale is None:
        raise InputError(
            f"input {spec.name!r} is {spec.dtype} without a scale",
            hint=f"give it {spec.dtype} values",
        )
    limits = np.iinfo(wanted)
    levels = np.rint(real / np.float32(spec.scale)) + np.float32(spec.zero_point or 0)
    q: NDArray[np.generic] = np.clip(levels, limits.min, limits.max).astype(wanted)
    return q


def read_image(path: Path, height: int, width: int, color: str) -> "NDArray[np.uint8]":
    """An image file as (height, width, C) uint8: upright as its EXIF says, resized bilinearly.

    Raises:
        InputError: the file is not an image, or damaged.
        MissingToolError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingToolError(
            f"{path}: reading images needs Pillow", hint="pip install 'pillow>=10'"
        ) from error
    try:
        with Image.open(path) as image:
            upright = upright_8_bit(image, path).convert(color)
            if upright.size != (width, height):
                upright = upright.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(upright, dtype=np.uint8)
    except EdgeKilnError:
        raise
    except Exception as error:  # whatever damaged bytes lead Pillow's decoders to
        raise InputError(
            f"{path}: cannot read this image: {error}", hint="is it complete?"
        ) from error
    return pixels.reshape(height, width, CHANNELS[color])


def _normalize(x: "NDArray[np.generic]", p: "Preprocessing") -> "NDArray[np.float32]":
    mean, std = np.asarray(p.mean, np.float32), np.asarray(p.std, np.float32)
    for name, values in (("mean", mean), ("std", std)):
        if values.size not in (1, x.shape[-1]):
            raise InputError(
                f"preprocessing has {values.size} values of {name} for {x.shape[-1]} channels",
                hint="give one value, or one a channel",
            )
    out = x.astype(np.float32)
    out *= np.float32(p.scale)
    out -= mean
    out /= std
    return out


def recolor(images: "NDArray[np.generic]", color: str) -> "NDArray[np.generic]":
    """(N, H, W, 1 or 3) → the color's channels. Grey is ITU-R 601 luma, as Pillow computes it."""
    if color not in CHANNELS:
        raise InputError(f"unknown color {color!r}", hint="colors are: L, RGB")
    channels, wanted = images.shape[-1], CHANNELS[color]
    if channels == wanted:
        return images
    if channels == 1:
        return np.repeat(images, wanted, axis=-1)
    if channels == 3 and images.dtype == np.uint8:
        red, green, blue = (images[..., i].astype(np.uint32) for i in range(3))
        luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        return luma.astype(np.uint8)[..., None]
    raise InputError(
        f"images of {channels} channels, the model takes {wanted} ({color})",
        hint="images are (N, H, W, C)",
    )


def _image_size(spec: "TensorSpec") -> tuple[int, int] | None:
    """Height and width of the images a model takes; a flattened input is taken to be square."""
    p = spec.preprocessing
    if p is None:
        return None
    if p.layout == "NCHW" and len(spec.shape) == 4:
        return spec.shape[2], spec.shape[3]
    if p.layout == "NHWC" and len(spec.shape) == 4:
        return spec.shape[1], spec.shape[2]
    if p.layout == "N*" and len(spec.shape) == 2 and p.color in CHANNELS:
        pixels, rest = divmod(spec.shape[1], CHANNELS[p.color])
        side = math.isqrt(pixels)
        if rest == 0 and side * side == pixels:
            return side, side
    return None


def _as_images(array: "NDArray[np.generic]", spec: "TensorSpec") -> "NDArray[np.generic] | None":
    """(N, H, W, C) when the array holds pixels of the model's size, else None."""
    size = _image_size(spec)
    if size is None:
        return None
    for images in (array, array[None]):
        if images.ndim == 4 and images.shape[1:3] == size and images.shape[3] in CHANNELS.values():
            return images
        if images.ndim == 3 and images.shape[1:] == size:
            return images[..., None]
    return None


def _read_as_image(path: Path, spec: "TensorSpec") -> "NDArray[np.generic]":
    size = _image_size(spec)
    if spec.preprocessing is None or size is None:
        raise InputError(
            f"{path}: input {spec.name!r} {_shape_text(spec)} has no preprocessing for images",
            hint="give the preprocessed array as .npy",
        )
    pixels = read_image(path, *size, spec.preprocessing.color)[None]
    if spec.dtype == "uint8" and spec.scale is None:
        return fit(pixels, spec, str(path))
    return quantize(preprocess(pixels, spec.preprocessing), spec)


def _read_npy(path: Path) -> "NDArray[np.generic]":
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: not a NumPy array: {error}", hint="save it with np.save"
        ) from error
    if not isinstance(array, np.ndarray):  # a .npz by another name
        array.close()
        raise InputError(f"{path}: holds several arrays", hint="name it .npz")
    return array


def _read_npz(path: Path, spec: "TensorSpec") -> "NDArray[np.generic]":
    try:
        # Opened here, for numpy leaves a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = archive.files
            chosen = spec.name if spec.name in names else names[0] if len(names) == 1 else None
            if chosen is not None:
                return np.asarray(archive[chosen])
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not an archive of NumPy arrays: {error}", hint="save it with np.savez"
        ) from error
    raise InputError(
        f"{path}: has no array named {spec.name!r}",
        hint=f"its arrays are: {', '.join(names) or 'none'}",
    )


def _read_raw(path: Path, spec: "TensorSpec") -> "NDArray[np.generic]":
    raw = path.read_bytes()
    per_sample = np.dtype(spec.dtype).itemsize * math.prod(spec.shape[1:])
    if not raw or len(raw) % per_sample:
        raise InputError(
            f"{path}: {len(raw)} bytes, input {spec.name!r} takes {per_sample} a sample",
            hint=f"raw files are {spec.dtype} {_shape_text(spec)} in C order",
        )
    return np.frombuffer(raw, spec.dtype).reshape(-1, *spec.shape[1:]).copy()


def _shape_text(spec: "TensorSpec") -> str:
    return f"({', '.join(['N', *map(str, spec.shape[1:])])})"


def _shape_hint(spec: "TensorSpec") -> str:
    size = _image_size(spec)
    if spec.preprocessing is None or size is None:
        return f"give {spec.dtype} {_shape_text(spec)}"
    channels = CHANNELS.get(spec.preprocessing.color, 3)
    images = f"(N, {size[0]}, {size[1]}, {channels})"
    return f"give {spec.dtype} {_shape_text(spec)} or uint8 images {images}"
