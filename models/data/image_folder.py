"""Folders of images, one folder a class: `photos/cat/1.png`, or `photos/train/cat/1.png` and
`photos/test/cat/7.png`, perhaps with `photos/val/cat/9.png`. Where there is no `test`, `val` is it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Split, UnsplitData
from edgekiln.models.data.folder_parts import classes_of, parts_of
from edgekiln.models.data.limits import check_pixels
from edgekiln.models.data.options import Options
from edgekiln.models.data.splits import stratified_order
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.images import (
    CHANNELS,
    IMAGE_HINT,
    IMAGE_SUFFIXES,
    read_image,
    unreadable_image,
)
from edgekiln.runtime.limits import INPUTS, opened


def read(path: Path, options: Options) -> UnsplitData:
    """Images in the size and color of the options; RGB and their own size where none is given.

    Raises:
        InputError: no class folders, no images, a damaged image, images of several sizes without
            the option `size`, folders that cannot be told apart, or more pixels than are held.
    """
    parts = parts_of(path)
    folders = parts.folders
    classes = classes_of(parts, "images")
    files = {name: _files(folder, classes, options) for name, folder in folders.items()}
    size = options.size or common_size([file for part, _ in files.values() for file in part])
    color = options.color or "RGB"
    count = sum(len(part) for part, _ in files.values())
    check_pixels(str(path), count, size, CHANNELS[color])
    splits = {name: _decode(part, labels, size, color) for name, (part, labels) in files.items()}
    return UnsplitData(
        classes=classes,
        train=splits["train"],
        test=splits.get("test"),
        val=splits.get("val"),
        notes=parts.notes,
    )


def _files(
    folder: Path, classes: tuple[str, ...], options: Options
) -> tuple[list[Path], NDArray[np.int64]]:
    """The image files of one part and their class indices, sorted by class and name."""
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue  # a class without test images
        found = sorted(_images_below(folder / name))
        if not found:
            raise InputError(
                f"{folder / name}: no images in it",
                hint=f"images are {', '.join(sorted(IMAGE_SUFFIXES))}",
            )
        files += found
        labels += [label] * len(found)
    # Not the caller's seed: that decides about splits, and the limit should leave the same files.
    chosen = np.sort(stratified_order(np.array(labels), seed=0)[: options.limit])
    return [files[index] for index in chosen], np.array(labels, np.int64)[chosen]


def _images_below(folder: Path) -> Iterator[Path]:
    """All image files in `folder` and its subfolders. Raises OSError for one that is unreadable."""

    def refuse(error: OSError) -> None:
        raise error  # by itself `walk` leaves out in silence what it may not read

    for parent, _, names in os.walk(folder, onerror=refuse, followlinks=False):
        for name in names:
            file = Path(parent, name)
            if file.suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield file


def common_size(files: list[Path]) -> tuple[int, int]:
    """Height and width of the images, from their headers alone."""
    first = _header_size(files[0])
    for file in files[1:]:
        if (other := _header_size(file)) != first:
            raise InputError(
                f"{file}: is {other[0]}×{other[1]}, {files[0]} is {first[0]}×{first[1]}",
                hint="resize all images: add ?size=96",
            )
    return first


def _header_size(file: Path) -> tuple[int, int]:
    from PIL import ExifTags, Image

    with opened(file, INPUTS, IMAGE_HINT) as stream:
        try:
            with Image.open(stream) as image:
                # By 90°, see `read_image`.
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return (image.width, image.height) if turned else (image.height, image.width)
        except Exception as error:  # whatever damaged bytes lead Pillow's decoders to
            raise unreadable_image(file, error) from error


def _decode(
    files: list[Path], labels: NDArray[np.int64], size: tuple[int, int], color: str
) -> Split:
    x = np.empty((len(files), *size, CHANNELS[color]), np.uint8)
    for file, pixels in zip(files, x, strict=True):
        pixels[...] = read_image(file, *size, color)
    return Split.of(x=x, y=labels)
