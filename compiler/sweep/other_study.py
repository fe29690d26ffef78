"""Errors of a study that is not the one that was meant."""

import json
from collections.abc import Collection, Mapping

from edgekiln.runtime.errors import ConfigError


def another_search(
    name: str, storage: str, wanted: Mapping[str, str], known: Mapping[str, str]
) -> ConfigError:
    """The error of a study that searches for something else. Both are a plan's `identity`."""
    hint = "begin another one by --study NAME, or go on with the same command as before"
    if not known:
        return ConfigError(f"study {name!r} in {storage} is not one of ours", hint)
    key = next(key for key in wanted if known.get(key) != wanted[key])
    ours, theirs = json.loads(wanted[key]), json.loads(known.get(key, "null"))
    if key == "space" and isinstance(theirs, dict):
        changed = sorted(n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n))
        what = f"another space: {', '.join(changed)}"
    elif key == "recipe":
        what = "another recipe, data or seed beside its space"
    else:
        told = theirs if isinstance(theirs, str) else ", ".join(theirs or ()) or "none"
        what = f"another {key}: {told}"
    return ConfigError(f"study {name!r} in {storage} has {what}", hint)


def no_study(name: str, storage: str, there: Collection[str]) -> ConfigError:
    """The error of going on with a study that is none of those that the storage has."""
    return ConfigError(
        f"--resume: no study {name!r} in {storage}",
        f"there are {', '.join(sorted(there))}" if there else "begin one without it",
    )
