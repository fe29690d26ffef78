"""Loads a `Dataset` by its name or path."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from edgekiln.models import spec
from edgekiln.models.data.anomaly_sound import read as read_anomaly_sound
from edgekiln.models.data.cifar import fits as is_cifar
from edgekiln.models.data.cifar import read as read_cifar
from edgekiln.models.data.dataset import Dataset, Samples, Split, UnsplitData
from edgekiln.models.data.digits import DEFAULTS as OF_DIGITS
from edgekiln.models.data.digits import read as read_digits
from edgekiln.models.data.idx import fits as is_idx
from edgekiln.models.data.idx import read as read_idx
from edgekiln.models.data.image_folder import read as read_image_folder
from edgekiln.models.data.images import shaped as as_images
from edgekiln.models.data.npz import fits as is_npz
from edgekiln.models.data.npz import read as read_npz
from edgekiln.models.data.options import Options, parse
from edgekiln.models.data.splits import size_of, stratified_order
from edgekiln.models.data.tones import read as read_tones
from edgekiln.models.data.unlabelled import is_unlabelled
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.manifest import Preprocessing
from edgekiln.runtime.typed import did_you_mean

Reader = Callable[[Path, Options], UnsplitData]

# Name → reader and the options it is loaded with unless others are given.
BUNDLED: Mapping[str, tuple[Callable[[], UnsplitData], Mapping[str, str]]] = {
    "digits": (read_digits, OF_DIGITS),
    "hum": (read_anomaly_sound, {}),
    "tones": (read_tones, {}),
}

# The first whose `fits` says yes reads a path.
_FORMATS: tuple[tuple[Callable[[Path], bool], Reader], ...] = (
    (is_npz, read_npz),
    (is_idx, read_idx),
    (is_cifar, read_cifar),
    (Path.is_dir, read_image_folder),
)

_TEST, _VAL, _CALIB = "0.2", "0.1", "0.1"  # of the samples that are not already a test part
_MAX_CALIB = 512  # more calibration samples do not move a range: by default no more are set aside


def load(data: str, seed: int = 0) -> Dataset:
    """Load `"digits"`, `"photos/?size=96"`, `"cifar.npz?scale=1&mean=0&std=1&layout=NHWC"`, ….

    The seed decides which sample goes to which split, and nothing else. Without any of scale, mean
    and std the samples are normalized by the training split's own moments, per channel; who gives
    one of them means just that, the others being 1/255, 0 and 1.

    Raises:
        ConfigError: no such data set, or a wrong option.
        InputError: the files cannot be read or do not fit; the message names the path.
    """
    name = spec.split(data)[0]
    try:
        return _load(data, seed, _state(name))
    except OSError as error:  # a folder or file that may not be read, a broken disk
        raise InputError(
            f"{error.filename or name}: cannot be read: {error.strerror or error}",
            hint="check its permissions and that it is still there",
        ) from error


@lru_cache(maxsize=1)
def _load(data: str, seed: int, _files: tuple[object, ...]) -> Dataset:
    """Every stage of a build asks for the same data; what changed on disk is read again."""
    name, given = spec.split(data)
    if name in BUNDLED:
        read, defaults = BUNDLED[name]
        options = parse(name, {**defaults, **given})
        return _assemble(name, read(), options, seed)
    path = Path(name).expanduser()
    if path.suffix != ".npz" and is_unlabelled(data):
        raise InputError(
            f"{name}: its samples have no labels, which training and accuracy need",
            hint="give one folder a class, or y in the .npz; or leave training out: --skip distill "
            "--skip prune --calibrate SPEC",
        )
    if path.exists() and not (path.is_dir() or path.is_file()):
        raise InputError(f"{path}: neither a file nor a folder", hint="give a file or a folder")
    if not path.exists():
        hint = did_you_mean(name, BUNDLED, what="bundled data sets are")
        raise ConfigError(f"no data set or file named {name!r}", hint=hint)
    options = parse(name, given)
    return _assemble(name, _reader(path)(path, options), options, seed)


def _state(name: str) -> tuple[object, ...]:
    """Tells whether the files behind `name` are still the same: their paths, sizes and times."""
    path = Path(name).expanduser().absolute()
    if name in BUNDLED or not path.exists():
        return ()
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = ((each, each.stat()) for each in found if each.is_file())
    return tuple((each, state.st_size, state.st_mtime_ns) for each, state in states)


def _reader(path: Path) -> Reader:
    # Here, with its own name, and not later for a file in it or as a damaged archive.
    if path.is_dir():
        os.scandir(path).close()
    else:
        path.open("rb").close()
    for fits, reader in _FORMATS:
        if fits(path):
            return reader
    raise InputError(
        f"{path}: cannot tell what this file is",
        hint="data is .npz, MNIST's *-images-idx3-ubyte, a CIFAR batch, or a folder of them",
    )


def _assemble(name: str, source: UnsplitData, options: Options, seed: int) -> Dataset:
    """Split, resize, recolor, and work out the preprocessing."""
    parts = _split(name, source, options, seed)
    shaped = {part: as_images(split, options, name) for part, split in parts.items()}
    _check_classes(name, source, shaped)
    return Dataset(
        name=name,
        classes=source.classes,
        task=source.task,
        preprocessing=_preprocessing(shaped["train"].x, options),
        numbers_given=(options.scale, options.mean, options.std) != (None, None, None),
        notes=(*source.notes, *_notes(shaped)),
        **shaped,
    )


def _split(name: str, source: UnsplitData, options: Options, seed: int) -> dict[str, Split]:
    # In this order every stretch holds the classes in proportion, so the parts are cut off in turn.
    pool = source.train.take(stratified_order(source.train.y, seed)[: options.limit])
    count = len(pool)
    sizes = {
        "test": size_of("test", options.test or _TEST, count),
        "val": size_of("val", options.val or _VAL, count),
        "calib": size_of("calib", options.calib, count)
        if options.calib
        else min(size_of("calib", _CALIB, count), _MAX_CALIB),
    }
    parts: dict[str, Split] = {}
    for part, given, asked in (
        ("test", source.test, options.test),
        ("val", source.val, options.val),
    ):
        if given is not None:
            part_of_files = given.take(stratified_order(given.y, seed)[: options.limit])
            have = len(part_of_files)
            wanted = size_of(part, asked, have) if asked else have
            parts[part] = part_of_files.take(np.arange(min(wanted, have)))
            # The files have this part: nothing of the training samples is needed for it.
            del sizes[part]
    begin = 0
    for part, size in sizes.items():
        parts[part] = pool.take(np.arange(begin, min(begin + size, count)))
        begin += size
    # What is left trains.
    parts["train"] = pool.take(np.arange(min(begin, count), count))
    for part, split in parts.items():
        if len(split) == 0:
            raise InputError(
                f"{name}: no samples are left for the {part} split",
                hint="give more samples, or set the sizes: ?test=0.2&val=0.1&calib=0.1",
            )
    return parts


def _check_classes(name: str, source: UnsplitData, parts: Mapping[str, Split]) -> None:
    if source.task != "classification":
        return
    if len(source.classes) < 2:
        only = ", ".join(source.classes) or "none"
        raise InputError(
            f"{name}: all samples are of one class: {only}",
            hint="classification needs two or more; vectors without labels are reconstructed",
        )
    unseen = set(range(len(source.classes))) - set(np.unique(parts["train"].y).tolist())
    if unseen:
        names = ", ".join(source.classes[label] for label in sorted(unseen))
        raise InputError(
            f"{name}: no training samples of class {names}",
            hint="every class needs samples to train on; small classes need more of them",
        )


def _preprocessing(x: Samples, options: Options) -> Preprocessing:
    image = x.dtype == np.uint8
    scale = options.scale if options.scale is not None else (1 / 255 if image else 1.0)
    channels = x.shape[-1] if image else 1
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    if (options.scale, options.mean, options.std) == (None, None, None):
        # Of the training split alone: the others must not have a say in what the network sees.
        mean, std = _moments(x.reshape(-1, channels), scale)
    given = {"mean": options.mean or mean, "std": options.std or std}
    for key, values in given.items():
        if len(values) not in (1, channels):
            raise ConfigError(
                f"data option {key}: {len(values)} numbers for {channels} channels",
                hint="give one number, or one for each channel",
            )
    return Preprocessing(
        scale=scale,
        layout=options.layout if image else "N*" if x.ndim == 2 else "",
        color="L" if image and channels == 1 else "RGB",
        **given,
    )


def _moments(x: Samples, scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of (M, C) samples after scaling, six digits of each."""
    mean = x.mean(axis=0, dtype=np.float64) * scale
    std = x.std(axis=0, dtype=np.float64) * scale
    std[std == 0] = 1.0  # a constant channel: any divisor will do, but not 0
    return tuple(map(_rounded, mean)), tuple(map(_rounded, std))


def _rounded(number: float) -> float:
    # The last bits of a sum depend on numpy's version and must not change a fingerprint.
    return float(f"{number:.6g}")


def _digests(split: Split) -> Iterator[bytes]:
    return (blake2b(sample.tobytes(), digest_size=16).digest() for sample in split.x)


def _notes(parts: Mapping[str, Split]) -> list[str]:
    # Equal samples in the user's own files make a test score too good.
    seen = {digest for part in ("train", "val", "calib") for digest in _digests(parts[part])}
    twice = sum(digest in seen for digest in _digests(parts["test"]))
    return [f"{twice} test samples are also training samples"] if twice else []
