"""A recipe as TOML, which reads as the same recipe."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import fields

from edgekiln.compiler.build.recipe import SHARED, Recipe
from edgekiln.runtime.typed import kebab


def recipe_text(recipe: Recipe, heading: str = "") -> str:
    """The recipe's file.

    Args:
        heading: lines for people, which become comments.
    """
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    default = Recipe()
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        # A task stands in the spec of the data, too, where there is one.
        said = value != getattr(default, field.name) or field.name == "seed"
        if kebab(field.name) in SHARED and said:
            lines.append(f"{kebab(field.name)} = {toml_value(value)}")
    for stage, options in recipe.options.items():
        lines += ["", f"[{stage}]"]
        lines += [
            f"{kebab(name)} = {toml_value(value)}"
            for name, value in options.items()
            if value is not None
        ]
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    """A value as TOML has it: a truth value, number, text, list or inline table."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            # JSON's text is TOML's, but for DEL, which JSON leaves as it is.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int() | float():
            return repr(value)
        case tuple() | list():
            return f"[{', '.join(map(toml_value, value))}]"
        case Mapping():
            items = (f"{toml_value(str(key))} = {toml_value(item)}" for key, item in value.items())
            return "{" + ", ".join(items) + "}"
    raise TypeError(f"{type(value).__name__} has no form in TOML")


def quoted(model: str) -> str:
    """A model as a shell takes it: what stands behind "?" is no pattern of files."""
    return shlex.quote(model)
