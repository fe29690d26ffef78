"""Loads a `Dataset` by its name or path."""

import difflib
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from edgekiln.models import spec
from edgekiln.models.data.anomaly_sound import read as read_anomaly_sound
from edgekiln.models.data.assembly import assemble
from edgekiln.models.data.cifar import fits as is_cifar
from edgekiln.models.data.cifar import read as read_cifar
from edgekiln.models.data.coco import fits as is_coco
from edgekiln.models.data.coco import read as read_coco
from edgekiln.models.data.dataset import Dataset, UnsplitData
from edgekiln.models.data.digits import DEFAULTS as OF_DIGITS
from edgekiln.models.data.digits import read as read_digits
from edgekiln.models.data.idx import fits as is_idx
from edgekiln.models.data.idx import read as read_idx
from edgekiln.models.data.image_folder import read as read_image_folder
from edgekiln.models.data.limits import check_name, in_words
from edgekiln.models.data.mask_folder import fits as is_mask_folder
from edgekiln.models.data.mask_folder import read as read_mask_folder
from edgekiln.models.data.npz import fits as is_npz
from edgekiln.models.data.npz import read as read_npz
from edgekiln.models.data.option_kinds import PICTURES, SOUNDS, check_reads, of_table
from edgekiln.models.data.options import INPUTS, Options, parse
from edgekiln.models.data.pair_factory import read_pairs
from edgekiln.models.data.sample_factory import is_reference, options_of
from edgekiln.models.data.table import fits as is_table
from edgekiln.models.data.table import read as read_table
from edgekiln.models.data.tones import read as read_tones
from edgekiln.models.data.unlabelled import is_unlabelled
from edgekiln.models.data.wav_folder import fits as is_wav_folder
from edgekiln.models.data.wav_folder import read as read_wav_folder
from edgekiln.models.unchanged import State, data_state, note_read
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.home import expanded

Reader = Callable[[Path, Options], UnsplitData]

# Name → reader and the options it is loaded with unless others are given.
BUNDLED: Mapping[str, tuple[Callable[[], UnsplitData], Mapping[str, str]]] = {
    "digits": (read_digits, OF_DIGITS),
    "hum": (read_anomaly_sound, {}),
    "tones": (read_tones, {}),
}

# The first whose `fits` says yes reads a path, and of the options after it those named.
_FORMATS: tuple[tuple[Callable[[Path], bool], Reader, tuple[str, ...]], ...] = (
    (is_npz, read_npz, PICTURES),
    (is_idx, read_idx, PICTURES),
    (is_cifar, read_cifar, PICTURES),
    (is_table, read_table, ()),  # see `of_table`
    (is_coco, read_coco, PICTURES),
    (is_mask_folder, read_mask_folder, PICTURES),
    (is_wav_folder, read_wav_folder, SOUNDS),
    (Path.is_dir, read_image_folder, PICTURES),
)


def load(data: str, seed: int = 0) -> Dataset:
    """Load `"digits"`, `"photos/?size=96"`, `"cifar.npz?scale=1&mean=0&std=1&layout=NHWC"`, ….

    The seed decides which sample goes to which split, and nothing else. Without any of scale, mean
    and std the samples are normalized by the training split's own moments, per channel; who gives
    one of them means just that, the others being 1/255, 0 and 1.

    Raises:
        ConfigError: no such data set, or a wrong option.
        InputError: the files cannot be read or do not fit; the message names the path.
    """
    check_name(data)
    name = spec.split(data)[0]
    with in_words(name):
        state = data_state(data)
        dataset = _load(data, seed, state)
        note_read(data, state, data_state(data))
        return dataset


@lru_cache(maxsize=1)
def _load(data: str, seed: int, _files: State) -> Dataset:
    """Every stage of a build asks for the same data; what changed on disk is read again."""
    name, given = spec.split(data)
    if name in BUNDLED:
        read, defaults = BUNDLED[name]
        check_reads(name, given, PICTURES)
        options = parse(name, {**defaults, **given})
        return assemble(name, read(), options, seed)
    if is_reference(name) and "task" in given:
        options, arguments = options_of(name, given, PICTURES)
        return assemble(name, read_pairs(name, arguments, options), options, seed)
    path = expanded(name)
    if is_reference(name):
        raise InputError(
            f"{name}: its samples have no labels, which training and accuracy need",
            hint="if it gives targets, too, say what for: --task classification, regression, …; "
            "else leave training out: --skip distill --skip prune --calibrate SPEC",
        )
    # Of an archive without labels its reader says more.
    if (INPUTS in given or not is_npz(path)) and is_unlabelled(data):
        raise InputError(
            f"{name}: its samples have no labels, which training and accuracy need",
            hint="give one folder a class, or y in the .npz; or leave training out: --skip distill "
            "--skip prune --calibrate SPEC",
        )
    if path.exists() and not (path.is_dir() or path.is_file()):
        raise InputError(f"{path}: neither a file nor a folder", hint="give a file or a folder")
    if not path.exists():
        raise ConfigError(f"no data set or file named {name!r}", hint=_instead_of(path))
    reader, reads = _reader(path)
    # First: what is wrong with an option matters where it is read.
    check_reads(str(path), given, of_table(given) if reader is read_table else reads)
    options = parse(name, given)
    return assemble(name, reader(path, options), options, seed)


def _instead_of(path: Path) -> str:
    """What somebody may have meant who names a path that is not there."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    known = {*(each.name for each in folder.iterdir()), *(BUNDLED if folder == Path() else ())}
    if near := difflib.get_close_matches(path.name, sorted(known), n=1):
        return f"did you mean {path.with_name(near[0])}?"
    where = f"it is looked for in {folder.resolve()}"
    return f"{where}; bundled data sets are: {', '.join(sorted(BUNDLED))}"


def _reader(path: Path) -> tuple[Reader, tuple[str, ...]]:
    # Here, with its own name, and not later for a file in it or as a damaged archive.
    if path.is_dir():
        os.scandir(path).close()
    else:
        path.open("rb").close()
    for fits, reader, reads in _FORMATS:
        if fits(path):
            return reader, reads
    raise InputError(
        f"{path}: cannot tell what this file is",
        hint="data is .npz, .csv, .parquet, MNIST's *-images-idx3-ubyte, a CIFAR batch, or a "
        "folder of them, of pictures or of sounds",
    )
