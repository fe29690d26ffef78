"""JSON Schemas (draft 2020-12) of what commands print, made from the types they print."""

import types
from collections import abc
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

PLAIN = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}


def document_schema(name: str, cls: type) -> dict[str, Any]:
    """Of a whole document: the fields of `cls` and the key `schema`, which is `name`."""
    content = schema_of(cls)
    properties = {**content["properties"], "schema": {"const": name}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **content,
        "properties": properties,
        "required": [*dict.fromkeys(("schema", *content["required"]))],
    }


def schema_of(hint: Any) -> dict[str, Any]:
    """Of a value with this annotation, as `edgekiln.runtime.codec.encode` writes it."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or hint in PLAIN:
        return {} if hint is Any else {"type": PLAIN[hint]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(arg) for arg in args]}
    if origin is tuple:
        return {"type": "array", "items": schema_of(args[0])}
    if origin is abc.Mapping:
        return {"type": "object", "additionalProperties": schema_of(args[1])}
    return _dataclass_schema(hint)


def _dataclass_schema(hint: Any) -> dict[str, Any]:
    assert is_dataclass(hint), f"{hint} has no JSON form"
    hints = get_type_hints(hint)
    names = [field.name for field in fields(hint)]
    return {
        "description": (hint.__doc__ or "").strip(),
        "type": "object",
        "properties": {name: schema_of(hints[name]) for name in names},
        "required": names,
        "additionalProperties": False,
    }
