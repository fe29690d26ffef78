"""What the store notes of an artifact, in `record.json` beside it; read as a stranger's file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekiln.compiler.pipeline.artifact import INPUT, Kind, Record
from edgekiln.compiler.pipeline.curve import TrainingCurves
from edgekiln.compiler.pipeline.key import FORMAT, key_of
from edgekiln.runtime.codec import CodecError, decode, encode
from edgekiln.runtime.errors import StorageError
from edgekiln.runtime.hints import ABSENT_WHEN_EMPTY
from edgekiln.runtime.limits import read_regular_up_to

RECORD = "record.json"
MOST_BYTES = 1 << 26  # of a record; those of long chains have some thousands
_SEAL = "seal"  # of a record's file: the hash of all else that is in it


class DamagedError(StorageError):
    """A stored artifact is not what was written."""


@dataclass(frozen=True, kw_only=True)
class StoredRecord:
    """`chain` is that of the first who made the artifact, its own record last."""

    format: int
    file: str  # its name, in the same folder
    kind: Kind
    sha256: str
    recipe: Record
    chain: tuple[Record, ...]
    metrics: Mapping[str, Any]  # numbers, whole ones as such
    notes: tuple[str, ...]
    wall_s: float
    curves: tuple[TrainingCurves, ...] = field(default=(), metadata=ABSENT_WHEN_EMPTY)

    def write(self, home: Path) -> None:
        """Write it into the folder of its artifact."""
        data = encode(self)
        sealed = {**data, _SEAL: _seal(data)}
        (home / RECORD).write_text(json.dumps(sealed, indent=1), encoding="utf-8")


def read_record(home: Path) -> StoredRecord:
    """The record in the folder of an artifact, which has its key's name.

    Raises:
        DamagedError: it is not what `StoredRecord.write` wrote for that key.
        OSError: it cannot be read.
    """
    content = read_regular_up_to(home / RECORD, MOST_BYTES)
    if len(content) > MOST_BYTES:
        raise DamagedError(f"the record of {home.name[:12]}… has more than {MOST_BYTES} bytes")
    return parse_record(content, home.name)


def parse_record(text: str | bytes, key: str) -> StoredRecord:
    """The record of the artifact stored as `key`.

    Raises:
        DamagedError: it is not what `StoredRecord.write` wrote for that key.
    """
    try:
        data = json.loads(text)
        # Records of earlier versions have none.
        seal = data.pop(_SEAL, None) if isinstance(data, dict) else None
        if seal is not None and seal != _seal(data):
            raise CodecError("another checksum")
        record = decode(StoredRecord, data)
        own_key = key_of(record.recipe)
    except (CodecError, ValueError, TypeError, RecursionError) as error:
        raise DamagedError(f"the record of {key[:12]}… is damaged ({error})") from error
    if record.format != FORMAT or own_key != key:
        raise DamagedError(f"the record of {key[:12]}… belongs to another key")
    if not all(type(number) in (int, float) for number in record.metrics.values()):
        raise DamagedError(f"the record of {key[:12]}… is damaged (a metric is no number)")
    if record.recipe.get("stage") == INPUT and record.recipe.get("input") != record.sha256:
        raise DamagedError(f"the record of {key[:12]}… is damaged (it took in another file)")
    # What the chain says last is said above it, too.
    own = {**record.recipe, "kind": record.kind, "sha256": record.sha256}
    if record.chain and record.chain[-1] != own:
        raise DamagedError(f"the record of {key[:12]}… is damaged (its chain ends otherwise)")
    if not record.chain or record.file in ("", RECORD) or Path(record.file).name != record.file:
        raise DamagedError(f"the record of {key[:12]}… is damaged (names no file of its own)")
    return record


def _seal(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
