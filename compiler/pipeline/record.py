"""What the store notes of an artifact, in `record.json` beside it; read as a stranger's file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekiln.compiler.pipeline.artifact import Kind, Record
from edgekiln.compiler.pipeline.curve import TrainingCurves
from edgekiln.compiler.pipeline.key import FORMAT, key_of
from edgekiln.runtime.codec import CodecError, decode, encode
from edgekiln.runtime.errors import StorageError
from edgekiln.runtime.hints import ABSENT_WHEN_EMPTY

RECORD = "record.json"


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
        (home / RECORD).write_text(json.dumps(encode(self), indent=1), encoding="utf-8")


def parse_record(text: str | bytes, key: str) -> StoredRecord:
    """The record of the artifact stored as `key`.

    Raises:
        DamagedError: it is not what `StoredRecord.write` wrote for that key.
    """
    try:
        record = decode(StoredRecord, json.loads(text))
        own_key = key_of(record.recipe)
    except (CodecError, ValueError, TypeError, RecursionError) as error:
        raise DamagedError(f"the record of {key[:12]}… is damaged ({error})") from error
    if record.format != FORMAT or own_key != key:
        raise DamagedError(f"the record of {key[:12]}… belongs to another key")
    if not all(type(number) in (int, float) for number in record.metrics.values()):
        raise DamagedError(f"the record of {key[:12]}… is damaged (a metric is no number)")
    if not record.chain or record.file in ("", RECORD) or Path(record.file).name != record.file:
        raise DamagedError(f"the record of {key[:12]}… is damaged (names no file of its own)")
    return record
