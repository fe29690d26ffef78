"""The Python reference: what `edgekiln.runtime` offers to programs on a device."""

import inspect
from collections.abc import Iterator
from importlib import import_module

import edgekiln.runtime
from edgekiln.runtime import errors
from edgekiln.runtime.errors import EdgeKilnError

INTRODUCTION = """# Python

`edgekiln.runtime` is the part for devices: Python's standard library and numpy, nothing else. It
needs neither PyTorch nor TVM, and `pip install` of EdgeKiln without extras brings no more than
that. [How to run a bundle in Python](../howto/run-in-python.md) shows it at work.

Everything else under `edgekiln` serves the command line and may change between releases.
"""
# Classes whose objects the functions of `edgekiln.runtime` return.
RETURNED = ("edgekiln.runtime.program:LoadedProgram",)


def page() -> str:
    """Markdown: the functions, what they return, and the errors."""
    parts = [INTRODUCTION]
    for name in edgekiln.runtime.__all__:
        parts += _function(f"edgekiln.runtime.{name}", getattr(edgekiln.runtime, name))
    for path in RETURNED:
        module, _, name = path.partition(":")
        parts += _class(f"{module}.{name}", getattr(import_module(module), name))
    return "\n\n".join([*parts, *_errors()]) + "\n"


def _function(path: str, function: object, level: str = "##") -> Iterator[str]:
    assert callable(function)
    name = path.rpartition(".")[2]
    yield f"{level} {path if level == '##' else name}"
    yield f"```python\n{name}{_signature(function)}\n```"
    yield from _docstring(function)


def _class(path: str, cls: type) -> Iterator[str]:
    yield f"## {path}"
    yield from _docstring(cls)
    for name, member in vars(cls).items():
        wanted = name == "__call__" or not name.startswith("_")
        if wanted and inspect.isfunction(member):
            yield from _function(f"{path}.{name}", member, level="###")


def _signature(function: object) -> str:
    """Annotations as they are written; quotes of those that are not needed at run time go."""
    assert callable(function)
    return str(inspect.signature(function)).replace("'", "").replace('"', "")


def _docstring(thing: object) -> Iterator[str]:
    """Paragraphs; a section such as `Raises:` becomes a list."""
    for block in (inspect.getdoc(thing) or "").split("\n\n"):
        head, _, rest = block.partition("\n")
        if head.endswith(":") and rest.startswith("    "):
            yield f"**{head}**"
            yield "\n".join(_entries(inspect.cleandoc(rest)))
        else:
            yield block


def _entries(text: str) -> Iterator[str]:
    for line in text.splitlines():
        name, colon, what = line.partition(": ")
        if colon and not line.startswith(" "):
            yield f"- `{name}`: {what}"
        else:
            yield f"  {line.strip()}"


def _errors() -> Iterator[str]:
    yield "## Errors"
    yield f"All of them are in `{errors.__name__}`. {inspect.getdoc(EdgeKilnError)} "
    rows = [
        f"| `{cls.__name__}` | {cls.exit_code} | {(inspect.getdoc(cls) or '').splitlines()[0]} |"
        for cls in vars(errors).values()
        if inspect.isclass(cls) and issubclass(cls, EdgeKilnError)
    ]
    yield "\n".join(["| error | exit code | |\n|---|---:|---|", *rows])
