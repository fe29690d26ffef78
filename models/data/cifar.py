"""CIFAR-10 and CIFAR-100 as published, binary or Python version.

Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009;
https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout". A file holds images as three 32×32
planes, red first. CIFAR-100's fine labels are the classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Split, UnsplitData, labelled
from edgekiln.models.data.limits import DATA
from edgekiln.models.data.options import Options
from edgekiln.models.data.restricted_pickle import Array as PickledArray
from edgekiln.models.data.restricted_pickle import load as unpickled
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import read_file

_SIDE = 32
_MAX_NAMES_BYTES = 1 << 16  # a hundred names take less than a thousand
_PIXELS = 3 * _SIDE * _SIDE


@dataclass(frozen=True)
class _Layout:
    """The files of one version."""

    train: tuple[str, ...]
    test: str
    names: str  # file with the class names
    names_key: bytes  # of the Python version
    labels_key: bytes
    label_bytes: int  # of the binary version; the last one is the class
    classes: int

    @property
    def binary(self) -> bool:
        return self.test.endswith(".bin")


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEN: dict[str, Any] = {  # fields of `_Layout`
    "names_key": b"label_names",
    "labels_key": b"labels",
    "label_bytes": 1,
    "classes": 10,
}
_HUNDRED: dict[str, Any] = {  # as above
    "names_key": b"fine_label_names",
    "labels_key": b"fine_labels",
    "label_bytes": 2,
    "classes": 100,
}
_LAYOUTS = (
    _Layout(_BATCHES, "test_batch", "batches.meta", **_TEN),
    _Layout(
        tuple(f"{name}.bin" for name in _BATCHES), "test_batch.bin", "batches.meta.txt", **_TEN
    ),
    _Layout(("train",), "test", "meta", **_HUNDRED),
    _Layout(("train.bin",), "test.bin", "fine_label_names.txt", **_HUNDRED),
)


def fits(path: Path) -> bool:
    """Whether this is one of CIFAR's files, or the folder of all of them."""
    return _layout(path) is not None


def read(path: Path, _options: Options) -> UnsplitData:
    """A folder gives a training and a test part, a file one part.

    Raises:
        InputError: a file is missing, damaged, or a pickle that asks for more than arrays.
    """
    layout = _layout(path)
    assert layout is not None  # `fits` found it
    if path.is_file():
        return UnsplitData(
            classes=_class_names(path.parent, layout), train=_read_file(path, layout)
        )
    parts = [_read_file(path / name, layout) for name in layout.train]
    train = Split.of(
        x=np.concatenate([part.x for part in parts]), y=np.concatenate([part.y for part in parts])
    )
    test = _read_file(path / layout.test, layout)
    return UnsplitData(classes=_class_names(path, layout), train=train, test=test)


def _layout(path: Path) -> _Layout | None:
    for layout in _LAYOUTS:
        if path.is_dir():
            # A folder of images may have subfolders `train` and `test`: these are files.
            if (path / layout.train[0]).is_file() and (path / layout.names).is_file():
                return layout
        elif path.name in (*layout.train, layout.test):
            return layout
    return None


def _read_file(path: Path, layout: _Layout) -> Split:
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="are all files of CIFAR unpacked there?")
    pixels, labels = (_read_binary if layout.binary else _read_pickle)(path, layout)
    # Three planes of an image → (N, H, W, C).
    images = pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return labelled(str(path), np.ascontiguousarray(images), labels, layout.classes)


def _read_binary(path: Path, layout: _Layout) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    content = np.frombuffer(read_file(path, DATA, "is it CIFAR's own file?"), np.uint8)
    record = layout.label_bytes + _PIXELS
    if len(content) == 0 or len(content) % record:
        raise InputError(
            f"{path}: {len(content)} bytes are not a whole number of records of {record} bytes",
            hint="is the file complete?",
        )
    records = content.reshape(-1, record)
    # CIFAR-100's first label byte is the coarse class; the fine one stands right before the pixels.
    return records[:, layout.label_bytes :], records[:, layout.label_bytes - 1]


def _read_pickle(path: Path, layout: _Layout) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    content = unpickled(path)
    found = content.get(b"data") if isinstance(content, dict) else None
    pixels = found.values if isinstance(found, PickledArray) else None
    labels = content.get(layout.labels_key) if isinstance(content, dict) else None
    if (
        pixels is None
        or pixels.dtype != np.uint8
        or pixels.ndim != 2
        or pixels.shape[1] != _PIXELS
        or not isinstance(labels, list)
        # A pickle's integers have any size, an array's have 64 bits.
        or not all(isinstance(label, int) and abs(label) < 2**31 for label in labels)
    ):
        raise InputError(
            f"{path}: not a CIFAR batch: no uint8 data of (N, {_PIXELS}) with labels",
            hint="the Python version's own files are read",
        )
    return pixels, np.array(labels, np.int64)


def _class_names(folder: Path, layout: _Layout) -> tuple[str, ...]:
    """Those beside the data, or numbers where there is no such file."""
    path = folder / layout.names
    if not path.is_file():
        return tuple(str(label) for label in range(layout.classes))
    if layout.binary:
        text = path.read_bytes()[:_MAX_NAMES_BYTES].decode("utf-8", "replace")
        names = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        content = unpickled(path)
        listed = content.get(layout.names_key) if isinstance(content, dict) else None
        listed = listed if isinstance(listed, list) else []
        names = [name.decode("utf-8", "replace") for name in listed if isinstance(name, bytes)]
    if len(names) != layout.classes:
        raise InputError(
            f"{path}: {len(names)} class names, expected {layout.classes}",
            hint="is the file complete?",
        )
    return tuple(names)
