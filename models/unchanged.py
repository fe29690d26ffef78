"""Whether the data that a stage reads are those that its key in the store was made of.

Files are looked at twice: hashed for the key, and read by the stage. What was exchanged between the
two must not be kept under the key of what was there before.
"""

from edgekiln.models.spec import split
from edgekiln.runtime.file_state import changed, file_state
from edgekiln.runtime.home import expanded

State = tuple[object, ...]

_read: dict[str, State] = {}  # spec of data → the state of the files that were read last


def files_state(name: str) -> State:
    """Tells whether the files behind a name are still the same: their paths, sizes and times."""
    path = expanded(name).absolute()
    if not path.exists():
        return ()
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return tuple((each, *file_state(each)) for each in found if each.is_file())


def data_state(data: str) -> State:
    """The same of all files that a spec of data names: its own, and a vocabulary's."""
    name, given = split(data)
    further = files_state(given["vocabulary"]) if given.get("vocabulary") else ()
    return (*files_state(name), *further)


def note_read(data: str, state: State, now: State) -> None:
    """Files of this state were read, and are `now` of that one. Raises InputError: of another."""
    if state != now:
        raise changed(data)
    _read[data] = state


def require_read(data: str, state: State) -> None:
    """Raises InputError where other files were read than those of this state."""
    if _read.get(data, state) != state:
        raise changed(data)
