"""Target profiles in files: one TOML file a device. Standard library only."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import did_you_mean, from_table, read_toml
from edgekiln.targets.description import TargetProfile

PROFILES = Path(__file__).parent / "profiles"
TUNING = Path(__file__).parent / "tuning"  # measured register tiles, a file a profile
MAX_BASES = 16  # of a profile, one extending the other
HOST = "host"  # not a file: detected, see `edgekiln.targets.detect`


def names() -> tuple[str, ...]:
    """What `load` takes, besides files: every profile that ships, and "host"."""
    return (HOST, *sorted(path.stem for path in PROFILES.glob("*.toml")))


def read(name: str) -> TargetProfile:
    """A profile that ships, by name, or from the user's own TOML file (anything ending in `.toml`).

    Raises:
        ConfigError: unknown name or key, wrong type, unreadable file, or `extends` in a circle.
    """
    path = _find(name)
    return from_table(TargetProfile, _read(path, seen=()), path.name)


@cache
def shipped() -> tuple[TargetProfile, ...]:
    """Every profile that ships, read once."""
    return tuple(read(name) for name in names() if name != HOST)


def _find(name: str) -> Path:
    """The file of a profile."""
    if name.endswith(".toml"):
        return Path(name)
    path = PROFILES / f"{name}.toml"
    if "/" in name or not path.is_file():
        hint = did_you_mean(name, names(), what="targets are")
        raise ConfigError(f"no target named {name!r}", hint)
    return path


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:  # TOML
    """The table of one file over the one it extends."""
    try:
        table = read_toml(path, "a target profile is a TOML file")
    except FileNotFoundError:
        raise ConfigError(f"no such target file: {path}", "see `edgekiln targets list`") from None
    parent = table.pop("extends", None)
    if parent is None:
        return table
    if not isinstance(parent, str):
        raise ConfigError(f"{path.name}: extends must be a string", 'e.g. extends = "x86-64-v3"')
    beside = path.parent / parent
    parent_path = beside if parent.endswith(".toml") else _find(parent)
    # A file has many paths.
    if os.path.realpath(parent_path) in map(os.path.realpath, (*seen, path)):
        raise ConfigError(
            f"{path.name}: extends {parent} in a circle",
            "extend one that extends none of these",
        )
    if len(seen) == MAX_BASES:
        raise ConfigError(
            f"{path.name}: extends the last of {MAX_BASES} profiles", "leave some out"
        )
    base = _read(parent_path, (*seen, path))
    bases = [Path(parent).stem, *base.get("bases", ())]
    return {**_merge(base, table), "bases": bases}


def _merge(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Tables merge key by key; lists and numbers of `over` replace those of `base`."""
    merged = dict(base)
    for key, value in over.items():
        inherited = base.get(key)
        if isinstance(value, Mapping) and isinstance(inherited, Mapping):
            merged[key] = _merge(inherited, value)
        else:
            merged[key] = value
    return merged
