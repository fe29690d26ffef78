"""Where data sets lay when something was made of them.

A model names its data set as its user did, often by a path that holds in one directory only, and
that name goes into its bytes. The store notes what the path was, so that commands which look at a
model later find the data from wherever they are started.
"""

import contextlib
from pathlib import Path

from edgekiln.compiler.pipeline.artifact import Record
from edgekiln.compiler.pipeline.layout import Layout, read_note


def note_place(layout: Layout, recipe: Record) -> None:
    """Note the data set of a stage, if its options name one by a relative path."""
    fingerprint, spec = recipe["uses"].get("data"), str(recipe["options"].get("data", ""))
    name, mark, options = spec.partition("?")
    if not fingerprint or Path(name).is_absolute() or not Path(name).exists():
        return
    with contextlib.suppress(OSError):  # a read-only store serves as well
        place = layout.places / fingerprint
        content = f"{Path(name).resolve()}{mark}{options}"
        if not place.is_file() or read_note(place) != content:
            layout.prepare()
            layout.put(place, content, fingerprint)


def data_place(layout: Layout, chain: tuple[Record, ...]) -> str:
    """The data set that the last stage of a chain to use any has used, to be loaded from anywhere.

    "" when the store has not noted it, or it is no longer there.
    """
    for record in reversed(chain):
        if fingerprint := record.get("uses", {}).get("data"):
            place = layout.places / str(fingerprint)
            return read_note(place) if place_is_there(place) else ""
    return ""


def place_is_there(place: Path) -> bool:
    """Whether the data set that `place` notes is still where it was."""
    try:
        return Path(read_note(place).partition("?")[0]).exists()
    except (OSError, ValueError):
        return False
