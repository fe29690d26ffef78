"""The JSON Schema of `edgekiln.toml`, for editors, made from the dataclasses that read it."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING

from edgekiln.compiler.build.recipe import stage_class, stage_options, takes_one
from edgekiln.compiler.build.stage_table import STAGES
from edgekiln.compiler.ci.config import Config, Settings
from edgekiln.compiler.documents.json_schema import schema_of
from edgekiln.runtime.hints import Hint, MappingHint, RecordHint, TupleHint, UnionHint, fields_of
from edgekiln.runtime.typed import kebab

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SHIPPED = "schemas/edgekiln.schema.json"  # beside `edgekiln.compiler.documents`


def config_schema() -> dict[str, object]:
    """The JSON Schema of the whole file, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgekiln.toml",
        **_table(Config),
    }


def _table(cls: "type[DataclassInstance]") -> dict[str, object]:
    """The schema of a TOML table that `typed.from_table` reads into the dataclass `cls`."""
    hints = fields_of(cls)
    properties = {}
    required = []
    for f in fields(cls):
        options = f.name == "options" and issubclass(cls, Settings)
        content = _stages() if options else _value(hints[f.name])
        properties[kebab(f.name)] = {"description": f.metadata["help"], **content}
        if f.default is MISSING and f.default_factory is MISSING:
            required.append(kebab(f.name))
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _value(hint: Hint) -> dict[str, object]:
    match hint:
        case UnionHint(required=required):  # a table has no null: what is not set is left out
            return _value(required)
        # Lists of TOML are of any length here; all their items are of one type.
        case TupleHint(items=[of, *_]):
            return {"type": "array", "items": _value(of)}
        case MappingHint(value=of):
            return {"type": "object", "additionalProperties": _value(of)}
        case RecordHint(kind=kind):
            return _table(kind)
    return schema_of(hint, {})


def _option(hint: Hint) -> Mapping[str, object]:
    """What an option of a stage may be: one that may be given again, alone or in a list."""
    whole = _value(hint)
    if isinstance(hint, TupleHint) and takes_one(hint):
        return {"anyOf": [_value(hint.items[0]), whole]}
    return whole


def _stages() -> Mapping[str, object]:
    """The schema of a recipe's sections: each stage with its own options."""
    sections = {}
    for name in STAGES:
        options = stage_options(stage_class(name))
        sections[name] = {
            "type": "object",
            "properties": {
                option.key: {"description": option.help, **_option(option.hint)}
                for option in options
            },
            "additionalProperties": False,
        }
    return {"type": "object", "properties": sections, "additionalProperties": False}
