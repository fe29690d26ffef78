"""The way from what a user has (arrays, images, raw bytes) to what a program takes."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.images import CHANNELS, IMAGE_SUFFIXES, read_image
from edgekiln.runtime.limits import INPUTS, read_file
from edgekiln.runtime.npy import read_npy, read_npz
from edgekiln.runtime.texts import TEXT_SUFFIX, is_text, of_array, read_lines
from edgekiln.runtime.waves import WAVE_SUFFIX, read_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import Preprocessing, TensorSpec


def preprocess(x: "NDArray[np.generic]", preprocessing: "Preprocessing") -> "NDArray[np.float32]":
    """Turn pixels into a model's float input: (pixel * scale - mean) / std per channel, in float32.

    Args:
        x: images (N, H, W, C) or (N, H, W), or vectors (N, F), which keep their shape.
        preprocessing: `mean` and `std` have one value or one a channel (else: one an item of the
            last axis).

    Returns:
        (N, C, H, W) for "NCHW", (N, H, W, C) for "NHWC", (N, C*H*W) in NCHW's order for "N*"; of
        x's own shape for "".

    Raises:
        InputError: the rank, the number of channels or the layout fits nothing.
    """
    if x.ndim == 2 or not preprocessing.layout:
        return _normalize(x, preprocessing)
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4:
        raise InputError(
            f"cannot preprocess an array of shape {x.shape}",
            hint="images are (N, H, W, C), vectors are (N, F)",
        )
    # Colors first: their weights are those of pixels.
    images = _normalize(recolor(x, preprocessing.color), preprocessing)
    if preprocessing.layout == "NHWC":
        return images
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if preprocessing.layout == "NCHW":
        return planes
    if preprocessing.layout == "N*":
        return planes.reshape(len(planes), -1)
    raise InputError(f"unknown layout {preprocessing.layout!r}", hint="layouts are: NCHW, NHWC, N*")


def load_input(path: Path, spec: "TensorSpec", *, batched: bool = True) -> "NDArray[np.generic]":
    """Read a file as input of a program, see `fit`.

    `.npy`, `.npz` (never pickled), raw `.bin` in the input's own dtype and shape, an image, which
    is resized to the model's input, a sound, cut into what a call takes, or lines of text. uint8
    images in an array are preprocessed as well.

    Raises:
        InputError: unreadable, too large, or another shape or dtype than the program's.
        MissingToolError: an image without Pillow.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return fit(read_npy(path), spec, str(path), batched=batched)
    if suffix == ".npz":
        return fit(read_npz(path, spec.name), spec, str(path), batched=batched)
    if suffix == ".bin":
        return _read_raw(path, spec, batched)
    if suffix in IMAGE_SUFFIXES:
        return _read_as_image(path, spec, batched)
    if suffix == WAVE_SUFFIX:
        return _read_as_sound(path, spec, batched)
    if suffix == TEXT_SUFFIX:
        return fit(read_lines(path, spec), spec, str(path), batched=batched)
    known = (".npy", ".npz", ".bin", WAVE_SUFFIX, TEXT_SUFFIX, *sorted(IMAGE_SUFFIXES))
    raise InputError(
        f"{path}: cannot tell what this file is",
        hint=f"inputs are {', '.join(known)}",
    )


def fit(
    array: "NDArray[np.generic]", spec: "TensorSpec", where: str, *, batched: bool = True
) -> "NDArray[np.generic]":
    """Bring an array to an input's shape and dtype without guessing.

    Taken: the input's own shape, without its first axis where that has one item; float64 for
    float32; `str` and `bytes` of what takes text; and, when the input has preprocessing, uint8
    images (N, H, W, C) or one (H, W, C), which are preprocessed.

    Args:
        batched: the first axis is the samples': any number of them, or one without the axis, is
            taken. Otherwise the array has exactly the input's shape.

    Raises:
        InputError: anything else; the message starts with `where` and names both shapes.
    """
    if is_text(array):
        array = of_array(array, spec, where)
    if not array.dtype.isnative:
        # A .npy file may come from a machine of the other byte order.
        array = array.astype(array.dtype.newbyteorder("="))
    # Bytes of the model's size are pixels; what takes bytes itself takes them as they are.
    if spec.preprocessing is not None and array.dtype == np.uint8 and spec.dtype != "uint8":
        sized = _as_images(array, spec)
        if sized is not None and (batched or len(sized) == spec.shape[0]):
            return quantize(preprocess(sized, spec.preprocessing), spec)
    if _takes_whole_numbers(spec) and array.dtype.kind in "iu" and array.ndim:
        assert spec.preprocessing is not None  # it takes whole numbers
        array = preprocess(array, spec.preprocessing)
    one = bool(spec.shape) and array.shape == spec.shape[1:]
    if one and (batched or spec.shape[0] == 1):
        array = array[None]
    elif not _has_shape(array, spec, batched):
        raise InputError(
            f"{where}: input {spec.name!r} is {_shape_text(spec, batched)}, "
            f"this array is {array.shape}",
            hint=_shape_hint(spec, batched),
        )
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return np.ascontiguousarray(array).reshape(array.shape)  # it gives 0-d arrays an axis
    if array.dtype.kind == "f" and (wanted.kind == "f" or spec.scale is not None):
        return quantize(array.astype(np.float32, order="C"), spec)
    raise InputError(
        f"{where}: input {spec.name!r} is {spec.dtype}, this array is {array.dtype}",
        hint=f"convert it: array.astype({spec.dtype!r})",
    )


def quantize(real: "NDArray[np.float32]", spec: "TensorSpec") -> "NDArray[np.generic]":
    """Convert to the input's dtype; if quantized, q = saturate(round_half_even(x / scale) +
    zero_point).
    """
    wanted = np.dtype(spec.dtype)
    if wanted.kind not in "iu":
        return real.astype(wanted, copy=False)
    if spec.scale is None:
        raise InputError(
            f"input {spec.name!r} is {spec.dtype} without a scale",
            hint=f"give it {spec.dtype} values",
        )
    if np.isnan(real).any():
        raise InputError(
            f"input {spec.name!r}: NaN has no {spec.dtype} code", hint="take the NaN out"
        )
    limits = np.iinfo(wanted)
    levels = np.rint(real / np.float32(spec.scale)) + np.float32(spec.zero_point or 0)
    q: NDArray[np.generic] = np.clip(levels, limits.min, limits.max).astype(wanted)
    return q


def coded(given: "NDArray[np.generic]", spec: "TensorSpec") -> "NDArray[np.generic]":
    """What a model takes in the type that its program takes, which may be codes."""
    return given if spec.scale is None else quantize(given.astype(np.float32), spec)


def _normalize(x: "NDArray[np.generic]", p: "Preprocessing") -> "NDArray[np.float32]":
    mean, std = np.asarray(p.mean, np.float32), np.asarray(p.std, np.float32)
    for name, values in (("mean", mean), ("std", std)):
        if values.size not in (1, x.shape[-1]):
            raise InputError(
                f"preprocessing has {values.size} values of {name} for {x.shape[-1]} channels",
                hint="give one value, or one a channel",
            )
    out = x.astype(np.float32)
    # In place: a batch of large images would else lie in memory several times.
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
        # 0.299, 0.587 and 0.114 in 65,536ths, rounded.
        luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        return luma.astype(np.uint8)[..., None]
    raise InputError(
        f"images of {channels} channels, the model takes {wanted} ({color})",
        hint="images are (N, H, W, C)",
    )


def _takes_whole_numbers(spec: "TensorSpec") -> bool:
    """Whether whole numbers of the input's own shape, which are no image, become its floats."""
    real = np.dtype(spec.dtype).kind == "f" or spec.scale is not None
    return real and spec.preprocessing is not None and not spec.preprocessing.layout


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
    # Several, or one without the axis of samples; grey ones may come without channels.
    for images in (array, array[None]):
        if images.ndim == 4 and images.shape[1:3] == size and images.shape[3] in CHANNELS.values():
            return images
        if images.ndim == 3 and images.shape[1:] == size:
            return images[..., None]
    return None


def _read_as_image(path: Path, spec: "TensorSpec", batched: bool) -> "NDArray[np.generic]":
    size = _image_size(spec)
    if spec.preprocessing is None or size is None:
        raise InputError(
            f"{path}: input {spec.name!r} {_shape_text(spec, batched)} has no preprocessing for "
            "images",
            hint="give the preprocessed array as .npy",
        )
    pixels = read_image(path, *size, spec.preprocessing.color)[None]
    if spec.dtype == "uint8" and spec.scale is None:
        return fit(pixels, spec, str(path), batched=batched)
    ready = quantize(preprocess(pixels, spec.preprocessing), spec)
    return fit(ready, spec, str(path), batched=batched)


def _read_as_sound(path: Path, spec: "TensorSpec", batched: bool) -> "NDArray[np.generic]":
    if not spec.rate_hz:
        raise InputError(
            f"{path}: input {spec.name!r} {_shape_text(spec, batched)} does not say that it is "
            "sound, nor of which rate",
            hint="give what it takes as .npy; or build it with --before pcm: it then takes sound",
        )
    return fit(read_windows(path, spec.shape[1], spec.rate_hz), spec, str(path), batched=batched)


def _read_raw(path: Path, spec: "TensorSpec", batched: bool) -> "NDArray[np.generic]":
    raw = read_file(path, INPUTS, hint="raw files are .bin")
    shape = spec.shape[1:] if batched else spec.shape
    wanted = np.dtype(spec.dtype).itemsize * math.prod(shape)
    if not raw or len(raw) % wanted or not (batched or len(raw) == wanted):
        raise InputError(
            f"{path}: {len(raw)} bytes, input {spec.name!r} takes {wanted}"
            + (" a sample" if batched else ""),
            hint=f"raw files are {spec.dtype} {_shape_text(spec, batched)} in C order",
        )
    array = np.frombuffer(raw, spec.dtype).copy()
    return array.reshape(-1, *shape) if batched else array.reshape(shape)


def _has_shape(array: "NDArray[np.generic]", spec: "TensorSpec", batched: bool) -> bool:
    if not batched:
        return array.shape == spec.shape
    return array.ndim > 0 and array.shape[1:] == spec.shape[1:] and len(array) > 0


def _shape_text(spec: "TensorSpec", batched: bool) -> str:
    return f"({', '.join(['N', *map(str, spec.shape[1:])])})" if batched else str(spec.shape)


def _shape_hint(spec: "TensorSpec", batched: bool) -> str:
    given = f"give {spec.dtype} {_shape_text(spec, batched)}"
    size = _image_size(spec)
    if spec.preprocessing is None or size is None:
        return given
    count = "N" if batched else spec.shape[0]
    channels = CHANNELS.get(spec.preprocessing.color, 3)
    return f"{given} or uint8 images ({count}, {size[0]}, {size[1]}, {channels})"
