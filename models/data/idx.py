"""MNIST's IDX files, plain or gzipped: http://yann.lecun.com/exdb/mnist, "the IDX file format"."""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Split, UnsplitData, class_numbers, labelled
from edgekiln.models.data.limits import DATA
from edgekiln.models.data.options import Options
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import open_regular

# Magic: two zero bytes, the type (8: unsigned byte), the number of dimensions.
_UNSIGNED_BYTE = b"\x00\x00\x08"
_GZIP = b"\x1f\x8b"
_PARTS = {"train": "train", "test": "t10k"}


def fits(path: Path) -> bool:
    """Whether this is an IDX file of images, or a folder of MNIST's four files."""
    if path.is_dir():
        return _images_of(path, "train") is not None
    return _is_images(path)


def read(path: Path, _options: Options) -> UnsplitData:
    """Raises InputError: no labels beside the images, a damaged file, or counts that differ."""
    if path.is_dir():
        images = _images_of(path, "train")
        assert images is not None  # `fits` found it
        train = _read_pair(images)
        test_images = _images_of(path, "test")
        test = _read_pair(test_images) if test_images else None
    else:
        train, test = _read_pair(path), None
    parts = [part for part in (train, test) if part is not None]
    return UnsplitData(classes=class_numbers(str(path), parts), train=train, test=test)


def _images_of(folder: Path, part: str) -> Path | None:
    """`train-images-idx3-ubyte`, with `.gz` or a dot before `idx`, as it is also found."""
    found = sorted(folder.glob(f"{_PARTS[part]}-images?idx3-ubyte*"))
    return found[0] if found else None


def _is_images(path: Path) -> bool:
    return "images" in path.name and "idx3" in path.name


def _read_pair(images: Path) -> Split:
    labels = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    # Only one of the two files may be zipped.
    other = labels.with_suffix("") if labels.suffix == ".gz" else Path(f"{labels}.gz")
    found = next((path for path in (labels, other) if path.is_file()), None)
    if found is None:
        raise InputError(f"{images}: no labels beside it", hint=f"expected {labels.name}")
    return labelled(str(images), _read_array(images, 3), _read_array(found, 1))


def _read_array(path: Path, ndim: int) -> NDArray[np.uint8]:
    """The header first: what it announces is checked before it is read."""
    header_bytes = 4 + 4 * ndim
    try:
        with _opened(path) as file:
            header = file.read(header_bytes)
            if len(header) < header_bytes or header[:4] != _UNSIGNED_BYTE + bytes([ndim]):
                raise InputError(
                    f"{path}: not an IDX file of {ndim}-dimensional bytes",
                    hint="is it MNIST's own format, not an image or a table?",
                )
            # Extents are 32-bit, the most significant byte first.
            shape = tuple(int(size) for size in np.frombuffer(header, ">u4", ndim, offset=4))
            wanted = math.prod(shape)
            DATA.check(wanted, str(path), "leave some of them out")
            # A byte more than announced, to see whether there is one; a gzip file does not say its
            # length.
            content = file.read(wanted + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged gzip file", hint="is the file complete?") from error
    if len(content) != wanted:
        found = "more" if len(content) > wanted else str(len(content))
        raise InputError(
            f"{path}: {found} bytes of data, its header says {wanted}", hint="is it complete?"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _opened(path: Path) -> BinaryIO:
    with open_regular(path) as file:
        zipped = file.read(len(_GZIP)) == _GZIP
    return cast("BinaryIO", gzip.open(path)) if zipped else open_regular(path)
