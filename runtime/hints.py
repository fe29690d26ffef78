"""Type hints as values: the one place that reads annotations.

Whoever goes by the types of our dataclasses (the codec, files of options, schemas, the command
line) asks here what a hint says, and matches on the answer.
"""

import types
from collections import abc
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class AnyHint:
    """`Any`: whatever it is."""


@dataclass(frozen=True)
class ScalarHint:
    """A class of values that have no parts, such as `int`; NoneType in unions."""

    kind: type


@dataclass(frozen=True)
class LiteralHint:
    """`Literal`: one of these values."""

    values: tuple[str | int, ...]


@dataclass(frozen=True)
class UnionHint:
    """`X | Y | None`, in the order of the source."""

    members: tuple["Hint", ...]

    @property
    def required(self) -> "Hint":
        """What a value is that is not None: the first member that says more."""
        return next(each for each in self.members if each != ScalarHint(types.NoneType))


@dataclass(frozen=True)
class TupleHint:
    """`tuple[X, ...]` of any length, or `tuple[X, Y]` of this one."""

    items: tuple["Hint", ...]
    repeated: bool  # `items` is one, for all


@dataclass(frozen=True)
class MappingHint:
    """`Mapping[str, X]`, an object of JSON."""

    value: "Hint"


@dataclass(frozen=True)
class RecordHint:
    """A dataclass; `fields_of` knows its fields. It may hold itself."""

    kind: "type[DataclassInstance]"


Hint: TypeAlias = (
    AnyHint | ScalarHint | LiteralHint | UnionHint | TupleHint | MappingHint | RecordHint
)


def hint_of(annotation: object) -> Hint:
    """What an annotation says.

    Raises:
        TypeError: it is of a form that no document and no file of ours has.
    """
    if annotation is Any:  # what this module is for
        return AnyHint()
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return LiteralHint(args)
    if origin in (Union, types.UnionType):
        return UnionHint(tuple(map(hint_of, args)))
    if origin is tuple:
        repeated = args[-1] is ...
        return TupleHint(tuple(map(hint_of, args[:1] if repeated else args)), repeated)
    if origin in (abc.Mapping, dict) and _is_text(hint_of(args[0])):
        return MappingHint(hint_of(args[1]))
    if isinstance(annotation, type) and origin is None:
        return RecordHint(annotation) if is_dataclass(annotation) else ScalarHint(annotation)
    raise TypeError(f"{annotation} is no hint of ours")


def _is_text(key: Hint) -> bool:
    """Whether keys of this kind are those of a JSON object."""
    words = key.values if isinstance(key, LiteralHint) else ()
    return key == ScalarHint(str) or (bool(words) and all(isinstance(w, str) for w in words))


# Metadata of a field of a document that is left out where it is empty.
ABSENT_WHEN_EMPTY: Mapping[str, bool] = {"absent_when_empty": True}


@cache
def may_be_absent(kind: "type[DataclassInstance]") -> frozenset[str]:
    """The fields that documents leave out where they are empty: they have `ABSENT_WHEN_EMPTY`."""
    return frozenset(
        field.name for field in fields(kind) if field.metadata.keys() >= ABSENT_WHEN_EMPTY.keys()
    )


@cache
def fields_of(kind: "type[DataclassInstance]") -> Mapping[str, Hint]:
    """Field → its hint, in the order of the fields of a dataclass, those it inherits included."""
    annotations = get_type_hints(kind)
    return {field.name: hint_of(annotations[field.name]) for field in fields(kind)}
