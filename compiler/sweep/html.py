"""Pages of studies: templates with what they share, the style and the charts."""

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

_SHARED = "edgekiln.compiler.sweep"


def template(name: str, packages: Sequence[str] = ()) -> "Template":
    """The template of this name, from the first of `packages` that has it, or of those shared."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def source(wanted: str) -> str | None:
        for package in (*packages, _SHARED):
            file = resources.files(package).joinpath("templates", wanted)
            if file.is_file():
                return file.read_text(encoding="utf-8")
        return None

    # Escaped: names are the users' models'. Strict: a name that is misspelt is an error and no gap.
    environment = Environment(
        loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)
