"""Whether the data that a stage reads are those that its key in the store was made of.

Files are looked at twice: hashed for the key, and read by the stage. What was exchanged between the
two must not be kept under the key of what was there before.
"""

from pathlib import Path

from edgekiln.models.spec import split
from edgekiln.models.text.bpe_vocabulary import merges_beside
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
    """The same of all files that a spec of data names: its own, and those of a vocabulary."""
    name, given = split(data)
    further = vocabulary_files(given.get("vocabulary", ""))
    return (*files_state(name), *(state for file in further for state in files_state(str(file))))


def vocabulary_files(vocabulary: str) -> tuple[Path, ...]:
    """The files behind `vocabulary=`: the one that is named, and merges beside it. "" has none."""
    if not vocabulary:
        return ()
    path = expanded(vocabulary)
    merges = merges_beside(path)
    return (path, merges) if path.suffix.lower() == ".json" and merges.is_file() else (path,)


def note_read(data: str, state: State, now: State) -> None:
    """Files of this state were read, and are `now` of that one. Raises InputError: of another."""
    if state != now:
        raise changed(data)
    _read[data] = state


def require_read(data: str, state: State) -> None:
    """Raises InputError where other files were read than those of this state."""
    if _read.get(data, state) != state:
        raise changed(data)
