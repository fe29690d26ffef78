"""Folders of WAV files, one folder a class: `words/yes/1.wav`. Options: `seconds=1` cuts or fills
up every sound, `mel=40` gives log-mel spectra in place of waves; `spectrum` has what else they may
be.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Split, UnsplitData
from edgekiln.models.data.folder_parts import classes_of, parts_of
from edgekiln.models.data.limits import DATA
from edgekiln.models.data.options import Options
from edgekiln.models.data.sound import Floats, spectra
from edgekiln.models.data.splits import stratified_order
from edgekiln.models.data.wave_files import check_rate, is_wave, read_any
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.waves import RATE_HZ

_BYTES = 4  # of a sample or a number, float32


def fits(path: Path) -> bool:
    """Whether folders in `path`, or in its parts, hold WAV files."""
    return path.is_dir() and any(is_wave(file) for file in path.glob("*/**/*"))


def read(path: Path, options: Options) -> UnsplitData:
    """Waves as floats (N, samples) from -1 to 1, the channels' mean; or spectra (N, 1, frames,
    numbers).

    Raises:
        InputError: a damaged file, another rate than the others', or lengths that differ where
            `seconds` says nothing, or too short ones.
    """
    parts = parts_of(path)
    classes = classes_of(parts, "sounds")
    splits: dict[str, Split] = {}
    rates: dict[int, Path] = {}
    for part, folder in parts.folders.items():
        files, labels = _files(folder, classes, options)
        splits[part] = Split.of(x=same_length(path, files, rates, options), y=labels)
    return UnsplitData(
        classes=classes,
        train=splits["train"],
        test=splits.get("test"),
        val=splits.get("val"),
        notes=parts.notes,
    )


def same_length(path: Path, files: list[Path], rates: dict[int, Path], options: Options) -> Floats:
    """Whole sounds as `read` gives them, cut or filled up to one length.

    Args:
        rates: sampling rates seen before, each with a file of it; those of these are added.

    Raises:
        ConfigError: an option of frames, which whole sounds are not cut into.
        InputError: as `read`.
    """
    frames = [key for key in ("frame", "hop") if getattr(options, key)]
    if frames and (options.spectrum is None or "frame" in frames):
        raise ConfigError(
            f"{path}: option {frames[0]!r} goes with sounds that are cut into frames",
            hint="leave it out; whole sounds have hop=160 beside mel=40",
        )
    waves = []
    for file in files:
        rate, sound = read_any(file)
        check_rate(file, rate, options.rate)
        rates.setdefault(rate, file)
        waves.append(sound)
    if len(rates) > 1:
        # Each rate came with the first file that has it.
        (first, one), (second, other), *_ = rates.items()
        raise InputError(
            f"{other}: has {second} samples a second, {one} has {first}",
            hint="bring all files to one rate",
        )
    return _features(path, _cut(files, waves, next(iter(rates)), options), rates, options)


def _files(
    folder: Path, classes: tuple[str, ...], options: Options
) -> tuple[list[Path], NDArray[np.int64]]:
    found = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).rglob("*"))
        if is_wave(file)
    ]
    labels = np.array([label for _, label in found], np.int64)
    # A limit takes of each class in proportion; sorted, they stay in the order of the files.
    chosen = np.sort(stratified_order(labels, seed=0)[: options.limit])
    return [found[place][0] for place in chosen], labels[chosen]


def _cut(files: list[Path], waves: list[Floats], rate: int, options: Options) -> Floats:
    """All sounds of one length: cut, or silence behind them."""
    length = round(options.seconds * rate) if options.seconds else len(waves[0])
    least = 1 if options.spectrum is None else options.spectrum.window
    if length < least:
        raise InputError(
            f"{files[0].parent}: sounds of {length / rate:g} s are too short",
            hint=f"give {least / rate:g} s or more: ?seconds=1",
        )
    for file, sound in zip(files, waves, strict=True):
        if not options.seconds and len(sound) != length:
            raise InputError(
                f"{file}: lasts {len(sound) / rate:g} s, {files[0]} {length / rate:g} s",
                hint="cut or fill up all of them: add ?seconds=1",
            )
    DATA.check(len(waves) * length * _BYTES, str(files[0].parent), "give fewer or shorter sounds")
    out = np.zeros((len(waves), length), np.float32)
    for row, sound in zip(out, waves, strict=True):
        row[: len(sound)] = sound[:length]
    return out


def _features(path: Path, waves: Floats, rates: dict[int, Path], options: Options) -> Floats:
    if options.spectrum is None:
        return waves
    if set(rates) != {RATE_HZ}:
        raise InputError(
            f"{path}: has {next(iter(rates))} samples a second; mel bands are made of {RATE_HZ}",
            hint=f"bring the files to {RATE_HZ} Hz, or compute them by ?transform=module:function",
        )
    about = options.spectrum
    count = len(waves) * about.frames(waves.shape[1]) * about.numbers
    DATA.check(count * _BYTES, str(path), f"give a longer hop than {about.hop}, or fewer sounds")
    return spectra(waves, about)[:, None]
