"""Pictures and masks of them side by side: `street/images/1.png` and `street/masks/1.png`, whose
pixels are class indices, 255 where nobody knows. An optional `classes.txt` names them, a line each.
"""

from pathlib import Path

import numpy as np

from edgekiln.models.data.dataset import Split, UnsplitData
from edgekiln.models.data.image_folder import common_size
from edgekiln.models.data.images import nearest
from edgekiln.models.data.limits import check_pixels
from edgekiln.models.data.options import Options
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.images import CHANNELS, IMAGE_SUFFIXES, read_image

_IMAGES, _MASKS = "images", "masks"


def fits(path: Path) -> bool:
    """Whether a folder holds pictures and masks."""
    return (path / _IMAGES).is_dir() and (path / _MASKS).is_dir()


def read(path: Path, options: Options) -> UnsplitData:
    """Pictures in the size and color of the options, and masks (N, H, W) in the same size.

    Raises:
        InputError: a picture without a mask, a damaged one, or pictures of several sizes without
            the option `size`.
    """
    pictures = _pictures(path / _IMAGES)[: options.limit]
    if not pictures:
        raise InputError(f"{path / _IMAGES}: no pictures in it", hint="give images/1.png, …")
    masks = {file.stem: file for file in _pictures(path / _MASKS)}
    if missing := [file.name for file in pictures if file.stem not in masks]:
        raise InputError(
            f"{path / _MASKS}: has no mask of {missing[0]}",
            hint="a mask has the name of its picture; PNG, its pixels class indices",
        )
    size = options.size or common_size(pictures)
    color = options.color or "RGB"
    # One channel more: the mask.
    check_pixels(str(path), len(pictures), size, CHANNELS[color] + 1)
    x = np.empty((len(pictures), *size, CHANNELS[color]), np.uint8)
    y = np.empty((len(pictures), *size), np.uint8)
    for file, pixels, mask in zip(pictures, x, y, strict=True):
        pixels[...] = read_image(file, *size, color)
        # Not as pictures are resized: between two class indices lies another class.
        mask[...] = nearest(_indices(masks[file.stem])[None], *size)[0]
    names = path / "classes.txt"
    classes = tuple(names.read_text(encoding="utf-8").split("\n")) if names.is_file() else ()
    return UnsplitData(
        classes=tuple(name.strip() for name in classes if name.strip()),
        train=Split.of(x=x, y=y),
        task="segmentation",
    )


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    )


def _indices(file: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """A mask's numbers: those of a palette, or gray ones; no color is converted."""
    from PIL import Image

    height, width = common_size([file])
    read_image(file, height, width, "L")  # refuses what is damaged or too large
    with Image.open(file) as image:
        if image.mode not in ("L", "P", "1", "I;16", "I"):
            raise InputError(
                f"{file}: is a colored mask, {image.mode}",
                hint="save masks as gray or palette PNG whose pixels are class indices",
            )
        numbers = np.asarray(image)
    if numbers.max(initial=0) > 255:
        raise InputError(f"{file}: holds {numbers.max()}", hint="class indices are below 255")
    return numbers.astype(np.uint8)
