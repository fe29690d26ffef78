"""Columns of a table as a network takes them: numbers, and the indices of `column_indices`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.column_indices import bucket_indices, hash_indices
from edgekiln.models.data.options import Options
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.typed import did_you_mean

_LARGEST = float(np.finfo(np.float32).max)
_IDS = np.iinfo(np.int64)
_FEATURES = "x"  # the input of all columns that become no indices

Columns = Mapping[str, Sequence[object]]  # numbers, or the words of a CSV file


def check_column(path: Path, name: str, columns: Columns) -> None:
    """Raises ConfigError: there is none of this name."""
    if name not in columns:
        hint = did_you_mean(name, columns, what="columns are")
        raise ConfigError(f"{path}: no column {name!r}", hint)


def real(value: object) -> float:
    """The number that a cell holds.

    Raises:
        TypeError, ValueError: it holds none. Python's own numbers may have `_` between digits; what
            looks so in a table is a name, such as 2024_01.
    """
    if isinstance(value, str) and "_" in value:
        raise ValueError(value)
    return float(value)  # type: ignore[arg-type] # whatever is no number raises


def numbers_of(path: Path, name: str, values: Sequence[object]) -> NDArray[np.float64]:
    """A column as numbers. Raises InputError naming the first row that holds something else."""
    numbers = np.empty(len(values), np.float64)
    for place, value in enumerate(values):
        where = _cell(path, name, place)
        if value is None or value == "":
            raise InputError(f"{where}: is empty", hint="fill it in, or leave the row out")
        try:
            numbers[place] = real(value)
        except (TypeError, ValueError):
            raise InputError(
                f"{where}: {value!r} is no number",
                hint="leave the column out, ?columns=a,b, or turn its words into numbers, such as "
                "0 and 1 for each word",
            ) from None
        if not abs(numbers[place]) <= _LARGEST:  # nor is NaN
            raise InputError(
                f"{where}: {value} is not finite", hint="fill it in, or leave the row out"
            )
    return numbers


def indexed(
    path: Path, options: Options, columns: Columns, targets: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """The columns that the options make indices of, (N, 1) each.

    Raises:
        ConfigError: there is no such column, or it is a target, or asked for twice.
        InputError: a value is no number, or no id.
    """
    found = {}
    for name in (*options.edges, *options.hashes):
        check_column(path, name, columns)
        if name in found or name in targets:
            other = "a target" if name in targets else "in buckets and in hash"
            raise ConfigError(
                f"{path}: column {name!r} is {other}", hint="name it in one place alone"
            )
        if name in options.edges:
            edges = np.array(options.edges[name], np.float32)
            column = bucket_indices(_values(path, name, columns[name]), edges)
        else:
            column = hash_indices(_ids(path, name, columns[name]), options.hashes[name])
        found[name] = column[:, None]
    if found and (options.scale, options.mean, options.std) != (None, None, None):
        raise ConfigError(
            f"{path}: scale, mean and std do not go with buckets and hash",
            hint="numbers beside indices are taken as they are: normalize them in the network",
        )
    return found


def features_name(path: Path, options: Options, indices: Mapping[str, object]) -> str:
    """The input of all other features. Raises ConfigError: it is not one, or a column's."""
    if not indices:
        return ""
    name = options.inputs[0] if options.inputs else _FEATURES
    if len(options.inputs) > 1 or name in indices:
        raise ConfigError(
            f"{path}: which input takes the columns that are no indices?",
            hint=f"name one: inputs={_FEATURES}_values",
        )
    return name


def _cell(path: Path, name: str, place: int) -> str:
    # Rows as editors count them: names are row 1.
    return f"{path}: row {place + 2}, column {name!r}"


def _values(path: Path, name: str, values: Sequence[object]) -> NDArray[np.float32]:
    """Numbers for buckets: what is missing is NaN."""

    def numbers() -> Iterator[float]:
        for place, value in enumerate(values):
            try:
                yield math.nan if value in (None, "") else real(value)
            except (TypeError, ValueError):
                raise InputError(
                    f"{_cell(path, name, place)}: {value!r} is no number",
                    hint="buckets are of numbers: correct it, or leave the column out",
                ) from None

    with np.errstate(over="ignore"):  # beyond float32 is infinite, and in the same bucket
        return np.array([*numbers()], np.float64).astype(np.float32)


def _ids(path: Path, name: str, values: Sequence[object]) -> NDArray[np.int64]:
    """Whole numbers for hashes, exact to the last digit."""
    found = np.empty(len(values), np.int64)
    for place, value in enumerate(values):
        text = str(value).strip()
        digits = text.removeprefix("-")
        # By its length first: Python converts no numbers of thousands of digits.
        whole = digits.isascii() and digits.isdigit() and len(digits) <= len(str(_IDS.max))
        if not whole or not _IDS.min <= int(text) <= _IDS.max:
            raise InputError(
                f"{_cell(path, name, place)}: {value!r} is no whole number of 64 bits",
                hint="hashes are of ids: number the column, or leave it out",
            )
        found[place] = int(text)
    return found
