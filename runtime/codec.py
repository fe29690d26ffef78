"""Frozen dataclasses to JSON and back, by their type hints.

Strict: every key must be there, no other key may be, and every value has the annotated type. Only a
field of `hints.ABSENT_WHEN_EMPTY` is left out where it is empty, as in documents of before it was.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar, cast

from edgekiln.runtime.hints import (
    AnyHint,
    Hint,
    LiteralHint,
    MappingHint,
    RecordHint,
    ScalarHint,
    TupleHint,
    UnionHint,
    fields_of,
    hint_of,
    may_be_absent,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

MAX_DEPTH = 64  # of containers in each other; ours have less than ten


class CodecError(ValueError):
    """The data has another form than the type; the message names the place: `layers[3].macs`."""


def encode(value: object) -> Any:  # what json takes
    """What `json.dumps` takes: dataclasses become objects, tuples lists, numpy's numbers plain."""
    if is_dataclass(value) and not isinstance(value, type):
        absent = may_be_absent(type(value))
        held = {field.name: getattr(value, field.name) for field in fields(value)}
        return {key: encode(item) for key, item in held.items() if item or key not in absent}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def loads(text: str | bytes) -> Any:  # JSON of which nothing is known
    """JSON from a file that anybody may have written: what it gives can be written again.

    Raises:
        ValueError: not JSON, or what JSON of ours never holds: numbers that are not finite,
            containers deeper than MAX_DEPTH, halves of surrogate pairs, a key twice.
    """
    try:
        data = json.loads(text, object_pairs_hook=_once_each)
        _check_plain(data, 0)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from None
    return data


def decode(kind: type[T], data: object, where: str = "") -> T:
    """The value of type `kind` that `encode` made `data` from.

    Raises:
        CodecError: a key is missing or unknown, or a value has another type.
    """
    return cast("T", _decode(hint_of(kind), data, where))


def to_json(value: object, schema: str | int | None = None) -> str:
    """The text of a file that holds a value: sorted keys, one line a value, a final newline.

    Equal values give equal bytes.

    Args:
        schema: the document's name or version, which then stands in it under this key.
    """
    document = encode(value) if schema is None else {"schema": schema, **encode(value)}
    return (
        json.dumps(document, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    )


def digest(value: object) -> str:
    """The SHA-256, in hexadecimal, of a value as JSON with sorted keys."""
    text = json.dumps(encode(value), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object; of a key that is there twice, nobody knows which value was meant."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _check_plain(data: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(data, dict):
        for key, item in data.items():
            _check_plain(key, depth)
            _check_plain(item, depth + 1)
    elif isinstance(data, list):
        for item in data:
            _check_plain(item, depth + 1)
    elif isinstance(data, str):
        data.encode()  # UnicodeEncodeError is a ValueError
    elif isinstance(data, float) and not math.isfinite(data):
        raise ValueError(f"{data} is no number of JSON's")


def _decode(hint: Hint, data: object, where: str) -> object:  # noqa: PLR0911 a hint each
    match hint:
        case AnyHint():
            return data
        case RecordHint(kind=kind):
            return _decode_record(kind, data, where)
        case UnionHint(required=required):
            return None if data is None else _decode(required, data, where)
        case LiteralHint(values=values):
            if not isinstance(data, str | int) or data not in values:
                raise CodecError(f"{_at(where)}wanted one of {', '.join(map(repr, values))}")
            return data
        case TupleHint():
            return _decode_tuple(hint, data, where)
        case MappingHint(value=value):
            named = _expect(data, dict, where)
            return {key: _decode(value, item, _join(where, key)) for key, item in named.items()}
        case ScalarHint(kind=kind):
            if kind is float and type(data) is int:
                return _as_float(data, where)  # JSON writers may drop the ".0"
            return _expect(data, kind, where)


def _decode_tuple(hint: TupleHint, data: object, where: str) -> tuple[object, ...]:
    items = _expect(data, list, where)
    hints = hint.items * len(items) if hint.repeated else hint.items
    if len(hints) != len(items):
        raise CodecError(f"{_at(where)}wanted {len(hints)} items, found {len(items)}")
    return tuple(_decode(hints[i], item, f"{where}[{i}]") for i, item in enumerate(items))


def _decode_record(kind: "type[DataclassInstance]", data: object, where: str) -> object:
    hints = fields_of(kind)
    items = _expect(data, dict, where)
    if missing := sorted(hints.keys() - items.keys() - may_be_absent(kind)):
        raise CodecError(f"{_at(where)}missing {', '.join(map(repr, missing))}")
    if extra := sorted(items.keys() - hints.keys()):
        raise CodecError(f"{_at(where)}unknown {', '.join(map(repr, extra))}")
    return kind(
        **{key: _decode(hints[key], items[key], _join(where, key)) for key in hints if key in items}
    )


def _as_float(data: int, where: str) -> float:
    try:
        return float(data)
    except OverflowError as error:
        raise CodecError(f"{_at(where)}{error}") from error


def _expect(data: object, kind: type[T], where: str) -> T:
    if not isinstance(data, kind) or type(data) is not kind:  # True is no number here
        raise CodecError(f"{_at(where)}wanted {kind.__name__}, found {type(data).__name__}")
    return data


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _at(where: str) -> str:
    return f"{where}: " if where else ""
