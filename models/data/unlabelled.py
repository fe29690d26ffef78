"""Samples without labels: what a model is calibrated on, and held against itself.

`pictures/`, a folder of images; `sounds/`, one of WAV files, or such a file; `.npy` of (N, …);
`.npz` whose arrays are named after a model's inputs, or hold the samples of its only one, where
the option `inputs` may say which;
`lines.txt`, a text a line; `package.module:factory`, which gives the samples one by one. What a
model that remembers takes are streams: (N, T, …).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models import spec
from edgekiln.models.data.coco import fits as is_coco
from edgekiln.models.data.dataset import ONLY
from edgekiln.models.data.images import middle
from edgekiln.models.data.input_arrays import has_inputs, read_inputs
from edgekiln.models.data.limits import DATA, check_name, check_pixels, in_words
from edgekiln.models.data.option_kinds import ARCHIVES, ARRAYS, LINES, WAVES, check_reads
from edgekiln.models.data.options import Options, parse
from edgekiln.models.data.sample_arrays import (
    as_pictures,
    common_length,
    finite,
    in_streams,
    transformed,
)
from edgekiln.models.data.sample_factory import is_reference, options_of, samples_of
from edgekiln.models.data.splits import size_of
from edgekiln.models.data.texts import fits as is_lines
from edgekiln.models.data.texts import read_lines
from edgekiln.models.data.wav_folder import same_length
from edgekiln.models.data.wave_files import files_in, frames
from edgekiln.models.unchanged import State, data_state, note_read, vocabulary_files
from edgekiln.runtime.home import expanded
from edgekiln.runtime.images import CHANNELS, IMAGE_SUFFIXES, read_image
from edgekiln.runtime.limits import read_regular
from edgekiln.runtime.npy import read_npy
from edgekiln.runtime.texts import TEXT_SUFFIX
from edgekiln.runtime.waves import WAVE_SUFFIX

# Nothing more is learned from more samples, and all of them are held in memory.
MOST_SAMPLES = 2048
_TEST, _VAL = "0.2", "0.1"  # of the samples; at least one
_MOST_HELD_OUT = 512  # unless the options say how many


@dataclass(frozen=True, kw_only=True)
class SampleSet:
    """N samples of each input, and which of them are for what.

    Args:
        arrays: by the name of the input, or `ONLY`; (N, …) each, of any type of number.
        parts: "calib", "val" and "test" → the indices of their samples.
    """

    name: str
    arrays: Mapping[str, NDArray[np.generic]]
    options: Options
    parts: Mapping[str, NDArray[np.int64]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))


def is_unlabelled(data: str) -> bool:
    """Whether a spec of data names samples without labels. Raises InputError for a damaged file."""
    name, options = spec.split(data)
    path = expanded(name)
    with in_words(name):
        if path.is_dir():
            return _is_flat(path) and not is_coco(path)
        if not path.is_file():
            return is_reference(name) and "task" not in options
        kind = path.suffix.lower()
        return kind in (WAVE_SUFFIX, TEXT_SUFFIX, ".npy") or has_inputs(path, options)


def load_samples(
    data: str,
    seed: int,
    *,
    size: tuple[int, int] | None = None,
    color: str = "RGB",
    frame: int = 0,
    streams: bool = False,
) -> SampleSet:
    """Read them, in an order that the seed decides, at most `MOST_SAMPLES` unless `limit` says.

    Args:
        size, color: of the pictures of a folder, where the options say nothing; None: their own.
        frame: samples of a frame of sound, where the options say nothing.
        streams: whether the samples are streams of such frames; of arrays the option `steps` says
            how many samples in a row are one, where they are not streams already.

    Raises:
        ConfigError: a wrong option.
        InputError: nothing there, damaged, of different lengths, or too large.
    """
    check_name(data)
    kind = _Wanted(size=size, color=color, frame=frame, streams=streams)
    with in_words(data):
        state = data_state(data)
        samples = _load(data, seed, kind, state)
        note_read(data, state, data_state(data))
        return samples


def fingerprint(data: str) -> str:
    """SHA-256 (hex) of all that decides the samples: the files' bytes, or what a factory gives."""
    name, given = spec.split(data)
    path = expanded(name)
    # The options say how large and how colored pictures are, and which samples there are.
    digest = sha256(repr(sorted(given.items())).encode())
    if path.is_dir():
        with in_words(data):
            for picture in (*_pictures(path), *files_in(path)):
                digest.update(b"\0%b\0" % os.fsencode(picture.name))
                digest.update(read_regular(picture))
    elif path.is_file():
        with in_words(data):
            digest.update(read_regular(path))
            for file in vocabulary_files(given.get("vocabulary", "")):
                digest.update(read_regular(file))
    else:
        options, arguments = _options(name, given)
        arrays = samples_of(name, arguments, options.limit or MOST_SAMPLES)
        for key, array in sorted(arrays.items()):
            digest.update(f"\0{key}\0{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What a model takes, as `load_samples` is told."""

    size: tuple[int, int] | None
    color: str
    frame: int
    streams: bool


@lru_cache(maxsize=2)
def _load(data: str, seed: int, wanted: _Wanted, _files: State) -> SampleSet:
    """Every stage of a build asks for the same samples; what changed on disk is read again."""
    name, given = spec.split(data)
    options, arguments = _options(name, given)
    path = expanded(name)
    most = options.limit or MOST_SAMPLES
    arrays: Mapping[str, NDArray[np.generic]]
    sounds = _sounds(path)
    framed = bool(sounds) and not (options.seconds or options.spectrum)
    if framed:
        arrays = {ONLY: frames(sounds, wanted.frame, options, streams=wanted.streams)}
    elif sounds:
        arrays = {ONLY: same_length(path, sounds, {}, options)}
    elif path.is_dir():
        arrays = {ONLY: _read_pictures(path, options, wanted.size, wanted.color, seed)}
    elif path.suffix.lower() == ".npy" and path.is_file():
        arrays = as_pictures(name, {ONLY: read_npy(path, DATA)}, options)
    elif is_lines(path):
        arrays = read_lines(path, options)
    elif path.is_file():
        arrays = as_pictures(name, read_inputs(path, options.inputs), options)
    else:
        arrays = as_pictures(name, samples_of(name, arguments, most), options)
    if options.transform:
        arrays = transformed(name, arrays, options.transform)
    if options.steps and not framed:
        arrays = {key: in_streams(name, array, options.steps) for key, array in arrays.items()}
    count = common_length(name, arrays)
    # In the order of the files again: `_split` shuffles what is chosen here.
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:most])
    taken = {key: finite(name, key, array[chosen]) for key, array in arrays.items()}
    parts, notes = _split(options, len(chosen), seed)
    return SampleSet(name=name, arrays=taken, options=options, parts=parts, notes=notes)


def _options(name: str, given: Mapping[str, str]) -> tuple[Options, Mapping[str, str]]:
    """The options of data, and, of a factory, the arguments beside them."""
    if is_reference(name):
        return options_of(name, given, ARRAYS)
    check_reads(name, given, _reads(expanded(name)))
    return parse(name, given), {}


def _reads(path: Path) -> tuple[str, ...]:
    """The options that what lies there reads."""
    if _sounds(path):
        return WAVES
    if is_lines(path):
        return LINES
    return ARCHIVES if path.suffix.lower() == ".npz" else ARRAYS


def _is_flat(folder: Path) -> bool:
    """Whether pictures or sounds lie in the folder itself, and no other folders."""
    nested = any(each.is_dir() and not each.name.startswith(".") for each in folder.iterdir())
    return not nested and bool(_pictures(folder) or files_in(folder))


def _sounds(path: Path) -> list[Path]:
    """The WAV files that a path names: itself, or those of a folder without pictures."""
    if path.is_dir():
        return [] if _pictures(path) else files_in(path)
    return [path] if path.suffix.lower() == WAVE_SUFFIX and path.is_file() else []


def _pictures(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    return [folder / n for n in sorted(names) if Path(n).suffix.lower() in IMAGE_SUFFIXES]


def _read_pictures(
    folder: Path, options: Options, size: tuple[int, int] | None, color: str, seed: int
) -> NDArray[np.uint8]:
    from edgekiln.models.data.image_folder import common_size

    files = _pictures(folder)
    # Before any is decoded: a folder may hold many more than are wanted.
    order = np.random.default_rng(seed).permutation(len(files))
    files = [files[i] for i in np.sort(order[: options.limit or MOST_SAMPLES])]
    own = None if options.crop else size  # the middle of all of a picture, unless a size is told
    height, width = options.size or own or common_size(files)
    channels = options.color or color
    check_pixels(str(folder), len(files), (height, width), CHANNELS[channels])
    out = np.empty((len(files), height, width, CHANNELS[channels]), np.uint8)
    for file, pixels in zip(files, out, strict=True):
        pixels[...] = read_image(file, height, width, channels)
    return middle(str(folder), out, options.crop) if options.crop else out


def _split(
    options: Options, count: int, seed: int
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Held out first, the rest calibrates. Of one or two samples some have to serve twice."""
    order = np.random.default_rng(seed).permutation(count).astype(np.int64)
    sizes = {}
    for part, asked, share in (("test", options.test, _TEST), ("val", options.val, _VAL)):
        wanted = size_of(part, asked or share, count)
        sizes[part] = max(1, wanted if asked else min(wanted, _MOST_HELD_OUT))
    test, val = order[: sizes["test"]], order[sizes["test"] : sizes["test"] + sizes["val"]]
    calib = order[sizes["test"] + sizes["val"] :]
    if options.calib:
        calib = calib[: max(1, size_of("calib", options.calib, count))]
    notes: tuple[str, ...] = ()
    if not len(calib) or not len(val):
        notes = (f"of {count} samples some calibrate and are held out at once",)
        val = val if len(val) else test
        calib = calib if len(calib) else order
    return {"test": test, "val": val, "calib": calib}, notes
