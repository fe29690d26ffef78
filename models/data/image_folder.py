"""Folders of images, one folder a class: `photos/cat/1.png`, or `photos/train/cat/1.png` and
`photos/test/cat/7.png`, with `val` in place of `test` where there is no `test`.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Source, Split
from edgekiln.models.data.options import Options
from edgekiln.models.data.splits import stratified_order
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.images import CHANNELS, IMAGE_SUFFIXES, read_image

_HELD_OUT = ("test", "val")
MAX_BYTES = 4 << 30  # of decoded pixels, which are all held in memory


def read(path: Path, options: Options) -> Source:
    """Images in the size and color of the options; RGB and their own size where none is given.

    Raises:
        InputError: no class folders, no images, a damaged image, images of several sizes without
            the option `size`, or more than 4 GiB of pixels.
    """
    parts = _parts(path)
    classes = _classes(parts["train"])
    if "test" in parts and (unknown := set(_classes(parts["test"])) - set(classes)):
        raise InputError(
            f"{parts['test']}: class {', '.join(sorted(unknown))} is in the test part only",
            hint=f"add training images of it to {parts['train']}",
        )
    files = {name: _files(folder, classes, options) for name, folder in parts.items()}
    size = options.size or _common_size([file for part, _ in files.values() for file in part])
    color = options.color or "RGB"
    pixels = size[0] * size[1] * CHANNELS[color] * sum(len(part) for part, _ in files.values())
    if pixels > MAX_BYTES:
        raise InputError(
            f"{path}: {pixels / 2**30:.1f} GiB of pixels, at most {MAX_BYTES >> 30} GiB are held",
            hint="load fewer or smaller images: ?limit=50000&size=96",
        )
    splits = {name: _decode(part, labels, size, color) for name, (part, labels) in files.items()}
    return Source(classes=classes, train=splits["train"], test=splits.get("test"))


def _parts(path: Path) -> dict[str, Path]:
    """The folder of each part; without a subfolder `train` all is one part."""
    if not (path / "train").is_dir():
        return {"train": path}
    parts = {"train": path / "train"}
    for name in _HELD_OUT:
        if (path / name).is_dir():
            return {**parts, "test": path / name}
    return parts


def _classes(folder: Path) -> tuple[str, ...]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise InputError(
            f"{folder}: no class folders in it", hint="one folder a class: photos/cat/1.png"
        )
    return tuple(names)


def _files(
    folder: Path, classes: tuple[str, ...], options: Options
) -> tuple[list[Path], NDArray[np.int64]]:
    """The image files of one part and their class indices, sorted by class and name."""
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue  # a class without test images
        found = sorted(
            file
            for file in (folder / name).rglob("*")
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
        )
        if not found:
            raise InputError(
                f"{folder / name}: no images in it",
                hint=f"images are {', '.join(sorted(IMAGE_SUFFIXES))}",
            )
        files += found
        labels += [label] * len(found)
    chosen = np.sort(stratified_order(np.array(labels), seed=0)[: options.limit])
    return [files[index] for index in chosen], np.array(labels, np.int64)[chosen]


def _common_size(files: list[Path]) -> tuple[int, int]:
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

    try:
        with Image.open(file) as image:
            turned = (
                image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            )  # by 90°, see `read_image`
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{file}: cannot read this image: {error}", hint="is it complete?"
        ) from error


def _decode(
    files: list[Path], labels: NDArray[np.int64], size: tuple[int, int], color: str
) -> Split:
    x = np.empty((len(files), *size, CHANNELS[color]), np.uint8)
    for file, pixels in zip(files, x, strict=True):
        pixels[...] = read_image(file, *size, color)
    return Split(x=x, y=labels)
