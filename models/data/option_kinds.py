"""Which options each kind of data reads: one that nothing would read is refused by its name."""

from collections.abc import Collection
from dataclasses import dataclass

from edgekiln.models.column_indices import KINDS
from edgekiln.models.data.options import (
    INPUTS,
    OF_PICTURES,
    OF_SOUNDS,
    OF_TABLES,
    OF_TEXTS,
    Options,
)
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.texts import TEXT_SUFFIX

_NUMBERS = ("scale", "mean", "std")
_PARTS = ("limit", "val", "calib", "test")
_FRAMES, _STREAMS, _LABELS = ("frame",), ("steps",), ("task",)
_CHANGES = ("transform",)

# What has labels.
PICTURES = (*_NUMBERS, *_PARTS, *_LABELS, *_CHANGES, *OF_PICTURES)
SOUNDS = (*_NUMBERS, *_PARTS, *_LABELS, *_CHANGES, *(set(OF_SOUNDS) - {*_FRAMES}))
# What has none. Arrays may hold pictures, see `check_pictures`.
ARRAYS = (*_NUMBERS, *_PARTS, *_STREAMS, *_CHANGES, *OF_PICTURES)
ARCHIVES = (*ARRAYS, INPUTS)
LINES = (*_PARTS, *_STREAMS, *OF_TEXTS, INPUTS)
WAVES = (*_NUMBERS, *_PARTS, *_STREAMS, *_CHANGES, *OF_SOUNDS)


def of_table(given: Collection[str]) -> tuple[str, ...]:
    """What a table with these options reads: some go with texts, others with indices."""
    if "text" in given:
        return (*_PARTS, *_LABELS, *_CHANGES, *OF_TABLES, *OF_TEXTS, INPUTS)
    inputs = () if set(given).isdisjoint(KINDS) else (INPUTS,)
    return (*_NUMBERS, *_PARTS, *_LABELS, *_CHANGES, *OF_TABLES, *inputs)


@dataclass(frozen=True, kw_only=True)
class _OptionGroup:
    """Options, what they go with, and where that is found."""

    keys: tuple[str, ...]
    goes_with: str
    found: str


_PICTURE_GROUP = _OptionGroup(
    keys=OF_PICTURES, goes_with="pictures", found="give pictures: a folder, or uint8 (N, H, W, 3)"
)
_GROUPS = (
    _OptionGroup(keys=OF_TABLES, goes_with="tables", found="give a CSV or Parquet file"),
    _OptionGroup(
        keys=OF_TEXTS,
        goes_with="texts",
        found=f"give a file of lines, {TEXT_SUFFIX}, or name a table's column of them, text=NAME",
    ),
    _OptionGroup(
        keys=(INPUTS,),
        goes_with=f"texts, {' and '.join(KINDS)}",
        found="say what becomes what, too",
    ),
    _OptionGroup(
        keys=_FRAMES,
        goes_with="sounds without labels",
        found="give WAV files side by side, by --calibrate",
    ),
    _OptionGroup(keys=OF_SOUNDS, goes_with="sounds", found="give a folder of WAV files"),
    _PICTURE_GROUP,
    _OptionGroup(
        keys=_STREAMS,
        goes_with="samples without labels",
        found="calibrate and verify by such: arrays, WAV files, lines of text",
    ),
    _OptionGroup(
        keys=_LABELS,
        goes_with="labels",
        found="give data that has some, see docs/howto/data.md",
    ),
    _OptionGroup(
        keys=(*_NUMBERS, *_CHANGES), goes_with="numbers", found="give arrays of them, or pictures"
    ),
)


def check_reads(name: str, given: Collection[str], reads: Collection[str]) -> None:
    """Raises ConfigError: one of the options given is not among those that this data reads."""
    for group in _GROUPS:
        for key in group.keys:
            if key in given and key not in reads:
                raise _not_read(name, key, group)


def check_pictures(name: str, options: Options) -> None:
    """Raises ConfigError: an option of pictures is given, which arrays of anything else ignore."""
    for key in OF_PICTURES:
        if getattr(options, key) is not None:
            raise _not_read(name, key, _PICTURE_GROUP)


def _not_read(name: str, key: str, group: _OptionGroup) -> ConfigError:
    return ConfigError(
        f"{name}: option {key!r} goes with {group.goes_with}",
        hint=f"leave it out, or {group.found}",
    )
