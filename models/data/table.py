"""Tables: CSV, and Parquet where pyarrow is installed. Columns are features, one of them or several
are the target: `houses.csv?target=price`, `?target=kind&columns=width,height`.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekiln.models.data.dataset import ONLY, Split, UnsplitData
from edgekiln.models.data.limits import DATA
from edgekiln.models.data.options import CSV, PARQUET, Options
from edgekiln.models.data.table_columns import (
    Columns,
    check_column,
    features_name,
    indexed,
    numbers_of,
    real,
)
from edgekiln.models.data.texts import tokenized
from edgekiln.models.tasks.heads import heads_of
from edgekiln.models.tasks.task import Array
from edgekiln.runtime.errors import ConfigError, InputError, MissingToolError
from edgekiln.runtime.limits import read_file

_USUAL = ("target", "label", "y", "class")  # what a target is called where nobody says
_WHOLE = 2.0**53  # beyond it float64 does not hold every whole number


def fits(path: Path) -> bool:
    """Whether this is a table, by its name."""
    return path.suffix.lower() in (*CSV, *PARQUET)


def read(path: Path, options: Options) -> UnsplitData:
    """Features as floats (N, columns), each with a scale of its own; targets as the task has them:
    words are classes, numbers are told, unless the options say otherwise.

    Raises:
        ConfigError: no such column, or nothing says which one is the target.
        InputError: damaged, or words, NaN or nothing where a number should be.
    """
    parquet = path.suffix.lower() in PARQUET
    columns = _read_parquet(path) if parquet else _read_csv(path)
    targets = _targets(path, options, columns)
    if options.text:
        return _of_text(path, options, columns, targets)
    indices = indexed(path, options, columns, targets)
    features = [
        name for name in options.columns or columns if name not in targets and name not in indices
    ]
    for name in features:
        check_column(path, name, columns)
    if not features and not indices:
        raise ConfigError(f"{path}: no column is left for features", hint="name some: ?columns=a,b")
    inputs: dict[str, Array] = {**indices}
    if features:
        x = np.stack([numbers_of(path, name, columns[name]) for name in features], axis=1)
        inputs = {features_name(path, options, indices): x.astype(np.float32), **indices}
    words = [name for name in targets if _has_words(columns[name])]
    named = {head.name for head in heads_of(options.task)} if options.task else set()
    if len(targets) > 1 and named != set(targets):
        if words:
            raise InputError(
                f"{path}: target {words[0]} holds words", hint="name a head for each target: "
                f"--task {words[0]}=classification,…",
            )  # fmt: skip
        y: Array = np.stack([numbers_of(path, name, columns[name]) for name in targets], axis=1)
        return UnsplitData(
            classes=(), train=Split(inputs=inputs, targets={ONLY: y}), task="regression",
            by_column=not indices, as_given=bool(indices),
        )  # fmt: skip
    found: dict[str, Array] = {}
    classes: list[tuple[str, ...]] = []
    for name in targets:
        target, kinds = _target(path, name, columns[name])
        found[name if len(targets) > 1 else ""] = target
        classes.append(kinds)
    return UnsplitData(
        classes=classes[0],
        train=Split(inputs=inputs, targets=found),
        task="classification" if words else "regression",
        by_column=not indices,
        as_given=bool(indices),
    )


def _of_text(path: Path, options: Options, columns: Columns, targets: Sequence[str]) -> UnsplitData:
    """A column of texts, as tokens, and one target."""
    check_column(path, options.text, columns)
    if len(targets) > 1 or options.columns or options.edges or options.hashes:
        raise ConfigError(
            f"{path}: a table of texts has one column of text and one target",
            hint="leave columns, buckets and hash out, and name one: ?text=review&target=stars",
        )
    target, classes = _target(path, targets[0], columns[targets[0]])
    tokens = tokenized(
        str(path), ["" if each is None else str(each) for each in columns[options.text]], options
    )
    return UnsplitData(
        classes=classes,
        train=Split(inputs=tokens, targets={"": target}),
        task="classification" if classes else "regression",
    )


def _targets(path: Path, options: Options, columns: Columns) -> tuple[str, ...]:
    for name in options.target:
        check_column(path, name, columns)
    if options.target:
        return options.target
    usual = [name for name in columns if name.lower() in _USUAL]
    if len(usual) != 1:
        raise ConfigError(
            f"{path}: which column is the target?",
            hint=f"say ?target=NAME; there are {', '.join(columns)}",
        )
    return (usual[0],)


def _read_csv(path: Path) -> Columns:
    raw = read_file(path, DATA, hint="a table is UTF-8 text")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error}", "save it as UTF-8") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read: {error}", "is it a table?") from error
    if len(rows) < 2:
        raise InputError(f"{path}: has no rows", hint="a line of names, then a line a sample")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header) or not all(header):
        raise InputError(
            f"{path}: its first line does not name every column once: {first.strip()[:80]}",
            hint="the first line holds the columns' names",
        )
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path}: row {number} has {len(row)} fields, the first one {len(header)}",
                hint="quote fields that hold the separator",
            )
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(header)}


def _read_parquet(path: Path) -> Columns:
    try:
        from pyarrow import large_string, parquet, types
    except ImportError as error:
        raise MissingToolError(
            f"{path}: reading Parquet needs pyarrow",
            hint="pip install 'edgekiln[tables]', or save the table as CSV",
        ) from error
    DATA.check(path.stat().st_size, str(path), "keep the columns that are needed")
    try:
        table = parquet.read_table(path)
        columns = {name: table.column(name) for name in table.column_names}
        for name, each in columns.items():
            # Texts whose writer did not say that they are: "b'cat'" is no word of theirs.
            if types.is_binary(each.type) or types.is_large_binary(each.type):
                columns[name] = each.cast(large_string())
        return {name: each.to_pylist() for name, each in columns.items()}
    except Exception as error:  # whatever damaged bytes lead pyarrow to
        raise InputError(f"{path}: cannot be read: {error}", "is it complete?") from error


def _has_words(values: Sequence[object]) -> bool:
    """Whether most of a column's values are no numbers: one such value is a mistake."""
    words = sum(not _is_number(value) for value in values)
    return words > len(values) / 2


def _is_number(value: object) -> bool:
    try:
        real(value)
    except (TypeError, ValueError):
        return False
    return True


def _target(path: Path, name: str, values: Sequence[object]) -> tuple[Array, tuple[str, ...]]:
    """Class indices and the classes' names for words; numbers, whole ones as integers."""
    if _has_words(values):
        words = ["" if value is None else str(value) for value in values]
        if "" in words:
            row = words.index("") + 2
            raise InputError(f"{path}: row {row}, column {name!r}: is empty", "leave the row out")
        classes = tuple(sorted(set(words)))
        place = {word: index for index, word in enumerate(classes)}
        return np.array([place[word] for word in words], np.int64), classes
    numbers = numbers_of(path, name, values)
    whole = bool(((numbers == np.rint(numbers)) & (np.abs(numbers) < _WHOLE)).all())
    return (numbers.astype(np.int64) if whole else numbers), ()
