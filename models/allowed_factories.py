"""Which factories module files may name: the zoo's, and those that the user allows.

A file holds no code, but whoever wrote it chose the name, and some functions that are installed
everywhere run any command.
"""

from collections.abc import Collection
from pathlib import Path

from edgekiln.models.zoo.entries import ENTRIES
from edgekiln.runtime.errors import ConfigError, InputError


def require_allowed(path: Path, factory: str, allow: Collection[str]) -> None:
    """Raise InputError where the file at `path` asks for a factory that is neither of the zoo nor
    in `allow`.
    """
    if not _is_of_the_zoo(factory) and factory not in allow:
        raise InputError(
            f"{path}: asks for {factory!r} to be called, which is not of the zoo",
            hint=f"if you trust the file and know this function: --allow-factory {factory}, "
            f'or allow-factories = ["{factory}"] in the recipe',
        )


def check_names(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The names of factories to allow, if each is the whole name of one.

    Raises:
        ConfigError: one that could allow nothing, such as "*", a module alone, or arguments.
    """
    for name in names:
        module, _, path = name.partition(":")
        is_one = all(part.isidentifier() for part in module.split(".")) and all(path.split("."))
        if not (_is_of_the_zoo(name) or is_one) or set(name) & set("*?"):
            raise ConfigError(
                f"{where}: {name!r} names no factory",
                hint="name each one whole and without arguments, as package.module:factory",
            )
    return names


def _is_of_the_zoo(factory: str) -> bool:
    """A module of the zoo is written under either of its two names."""
    return any(factory in (entry.name, entry.factory) for entry in ENTRIES.values())
