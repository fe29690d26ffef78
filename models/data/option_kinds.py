"""Which options go with which data: one that nothing would read is refused by its name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekiln.models.column_indices import KINDS
from edgekiln.models.data.options import (
    CSV,
    INPUTS,
    OF_PICTURES,
    OF_SOUNDS,
    OF_TABLES,
    OF_TEXTS,
    PARQUET,
)
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.texts import TEXT_SUFFIX

_ARRAYS = (".npz", ".npy")


@dataclass(frozen=True, kw_only=True)
class _OptionGroup:
    """Options, what they go with, and where that is found."""

    keys: tuple[str, ...]
    goes_with: str
    found: str


_TABLES = _OptionGroup(keys=OF_TABLES, goes_with="tables", found="give a CSV or Parquet file")
_TEXTS = _OptionGroup(
    keys=OF_TEXTS,
    goes_with="texts",
    found=f"give a file of lines, {TEXT_SUFFIX}, or name a table's column of them, text=NAME",
)
_INPUTS = _OptionGroup(
    keys=(INPUTS,), goes_with=f"texts, {' and '.join(KINDS)}", found="say what becomes what, too"
)
_SOUNDS = _OptionGroup(keys=OF_SOUNDS, goes_with="sounds", found="give a folder of WAV files")
_PICTURES = _OptionGroup(keys=OF_PICTURES, goes_with="pictures", found="give a folder of them")


def check_bundled(name: str, given: Mapping[str, str]) -> None:
    """Raises ConfigError: no bundled data set has such an option."""
    _refuse(name, given, (_TABLES, _TEXTS, _INPUTS, _SOUNDS))


def check_file(path: Path, given: Mapping[str, str]) -> None:
    """Raises ConfigError: nothing reads such an option of a file or folder of this name."""
    kind = path.suffix.lower()
    if kind in (*CSV, *PARQUET):
        of_text = "text" in given
        indexed = not given.keys().isdisjoint(KINDS)
        others = () if of_text else (_TEXTS,) if indexed else (_TEXTS, _INPUTS)
        _refuse(str(path), given, (*others, _SOUNDS, _PICTURES))
    elif kind == TEXT_SUFFIX:
        _refuse(str(path), given, (_TABLES, _SOUNDS, _PICTURES))
    else:
        sounds = (_SOUNDS,) if kind in _ARRAYS else ()
        inputs = () if kind == ".npz" else (_INPUTS,)
        _refuse(str(path), given, (_TABLES, _TEXTS, *inputs, *sounds))


def _refuse(name: str, given: Collection[str], groups: Collection[_OptionGroup]) -> None:
    for group in groups:
        if wrong := [key for key in group.keys if key in given]:
            raise ConfigError(
                f"{name}: option {wrong[0]!r} goes with {group.goes_with}",
                hint=f"leave it out, or {group.found}",
            )
