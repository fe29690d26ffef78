"""JSON Schemas (draft 2020-12) of what commands print, made from the types they print."""

import types
from collections import abc
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edgekiln.compiler.documents.field_comments import comments_of

PLAIN = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}

Definitions = dict[str, dict[str, Any]]  # class name → schema


def document_schema(title: str, cls: type, schema: str | int = "") -> dict[str, Any]:
    """Of a whole document: the fields of `cls` and the key `schema`.

    Args:
        schema: that key's value; by default it is `title`.
    """
    definitions: Definitions = {}
    content = _dataclass_schema(cls, definitions)
    own = {key: item for key, item in content["properties"].items() if key != "schema"}
    found = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **content,
        "properties": {"schema": {"const": schema or title}, **own},
        "required": [*dict.fromkeys(("schema", *content["required"]))],
    }
    return {**found, "$defs": definitions} if definitions else found


def schema_of(hint: Any, definitions: Definitions) -> dict[str, Any]:
    """Of a value with this annotation, as `edgekiln.runtime.codec.encode` writes it.

    Args:
        definitions: gets the schemas of dataclasses, for "$defs" of the document.
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or hint in PLAIN:
        return {} if hint is Any else {"type": PLAIN[hint]}
    if origin is Literal:
        return {"const": args[0]} if len(args) == 1 else {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(arg, definitions) for arg in args]}
    if origin is tuple:
        fixed = {} if args[-1] is ... else {"minItems": len(args), "maxItems": len(args)}
        return {"type": "array", "items": schema_of(args[0], definitions), **fixed}
    if origin is abc.Mapping:
        return {"type": "object", "additionalProperties": schema_of(args[1], definitions)}
    return _reference(hint, definitions)


def _reference(cls: Any, definitions: Definitions) -> dict[str, Any]:
    name = cls.__name__
    if name not in definitions:
        definitions[name] = {}  # holds the place: a type may hold itself
        definitions[name] = _dataclass_schema(cls, definitions)
    described = definitions[name].get("properties")
    same = described is None or list(described) == [field.name for field in fields(cls)]
    assert same, f"two types of a document are named {name}"
    return {"$ref": f"#/$defs/{name}"}


def _dataclass_schema(cls: Any, definitions: Definitions) -> dict[str, Any]:
    assert is_dataclass(cls), f"{cls} has no JSON form"
    assert isinstance(cls, type)
    hints, comments = get_type_hints(cls), comments_of(cls)
    properties = {}
    for field in fields(cls):
        described = {"description": comments[field.name]} if field.name in comments else {}
        properties[field.name] = {**described, **schema_of(hints[field.name], definitions)}
    return {
        "description": " ".join((cls.__doc__ or "").split()),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
