"""Artifacts: files whose content, origin and history are known."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from edgekiln.compiler.pipeline.curve import TrainingCurves
from edgekiln.runtime.errors import EdgeKilnError, InputError
from edgekiln.runtime.limits import open_regular

T = TypeVar("T")

Kind = Literal["module", "onnx", "onnx-int8", "lib", "bundle", "report"]

Record = Mapping[str, Any]  # JSON

INPUT = "input"  # in place of a stage's name: a file that a user gave
_CHUNK = 1 << 20  # bytes that are read at a time


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file, in a store or outside of any."""

    path: Path
    kind: Kind
    sha256: str
    key: str = ""  # in the store; "" outside
    chain: tuple[Record, ...] = ()  # how it came about, first to last; the same on every machine
    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    curves: tuple[TrainingCurves, ...] = ()
    wall_s: float = 0.0  # how long making it took, whenever that was
    cached: bool = False
    remark: str = ""  # of this run alone: a damaged copy was replaced
    called: str = ""  # what errors call it, for nobody knows a path inside the store
    # What `read` has made of the file; copies of this object share it.
    _read: dict[object, object] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of_file(cls, path: Path, kind: Kind) -> "Artifact":
        """A file as it lies there, without a history. Raises OSError."""
        return cls(path=path, kind=kind, sha256=sha256_of(path), called=str(path))

    def require_unchanged(self) -> None:
        """Raises InputError where the file has other bytes by now than those it is known by."""
        if sha256_of(self.path) != self.sha256:
            raise InputError(
                f"{self.called or self.path} was changed while it was read",
                "nothing that was found out about it is kept: run it again",
            )

    def read(self, reader: Callable[[Path], T]) -> T:
        """What `reader` makes of the file, made once and shared: whoever changes it copies it."""
        if reader not in self._read:
            with self.in_its_users_words():
                self._read[reader] = reader(self.path)
        return cast("T", self._read[reader])

    @contextmanager
    def in_its_users_words(self) -> Iterator[None]:
        """Errors inside the block name the file as its user knows it, not by its path."""
        try:
            yield
        except EdgeKilnError as error:
            if self.called:
                error.message, error.hint = (
                    text.replace(str(self.path), self.called)
                    for text in (error.message, error.hint)
                )
                error.args = (error.message,)
            raise


# What a stage reads that begins a chain.
NOTHING = Artifact(path=Path(os.devnull), kind="module", sha256="")


def sha256_of(path: Path) -> str:
    """The hash of a file, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while part := file.read(_CHUNK):
            digest.update(part)
    return digest.hexdigest()
