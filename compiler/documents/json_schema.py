"""JSON Schemas (draft 2020-12) of what commands print, made from the types they print."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgekiln.compiler.documents.field_comments import comments_of
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
    may_be_absent,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PLAIN = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}

Schema = dict[str, object]
Definitions = dict[str, Schema]  # class name → schema


def document_schema(title: str, cls: "type[DataclassInstance]", schema: str | int = "") -> Schema:
    """The schema of a whole document: the fields of `cls` and the key `schema`.

    Args:
        schema: that key's value; by default it is `title`.
    """
    definitions: Definitions = {}
    own = _properties(cls, definitions)
    # It stands first, and is a constant here, whatever type the class has for it.
    own.pop("schema", None)
    found = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **_record({"schema": {"const": schema or title}, **own}, cls),
    }
    return {**found, "$defs": definitions} if definitions else found


def schema_of(hint: Hint, definitions: Definitions) -> Schema:  # noqa: PLR0911 a hint each
    """The schema of a value with this hint, as `edgekiln.runtime.codec.encode` writes it.

    Args:
        definitions: gets the schemas of dataclasses, for "$defs" of the document.
    """
    match hint:
        case AnyHint():
            return {}
        case ScalarHint(kind=kind):
            return {"type": PLAIN[kind]}
        case LiteralHint(values=[only]):
            return {"const": only}
        case LiteralHint(values=values):
            return {"enum": list(values)}
        case UnionHint(members=members):
            return {"anyOf": [schema_of(each, definitions) for each in members]}
        # (x, ...) is of any length; of a fixed length all items have the first one's type.
        case TupleHint(items=items, repeated=repeated):
            fixed = {} if repeated else {"minItems": len(items), "maxItems": len(items)}
            return {"type": "array", "items": schema_of(items[0], definitions), **fixed}
        case MappingHint(value=value):
            return {"type": "object", "additionalProperties": schema_of(value, definitions)}
        case RecordHint(kind=kind):
            return _reference(kind, definitions)


def _reference(cls: "type[DataclassInstance]", definitions: Definitions) -> Schema:
    name = cls.__name__
    if name not in definitions:
        definitions[name] = {}  # holds the place: a type may hold itself
        definitions[name] = _record(_properties(cls, definitions), cls)
    required = definitions[name].get("required")
    same = required is None or required == _always_there(cls, fields_of(cls))
    assert same, f"two types of a document are named {name}"
    return {"$ref": f"#/$defs/{name}"}


def _properties(cls: "type[DataclassInstance]", definitions: Definitions) -> dict[str, Schema]:
    comments = comments_of(cls)
    return {
        name: {
            **({"description": comments[name]} if name in comments else {}),
            **schema_of(hint, definitions),
        }
        for name, hint in fields_of(cls).items()
    }


def _always_there(cls: "type[DataclassInstance]", names: Iterable[str]) -> list[str]:
    absent = may_be_absent(cls)
    return [name for name in names if name not in absent]


def _record(properties: Mapping[str, Schema], cls: "type[DataclassInstance]") -> Schema:
    return {
        "description": " ".join((cls.__doc__ or "").split()),
        "type": "object",
        "properties": properties,
        "required": _always_there(cls, properties),
        "additionalProperties": False,
    }
