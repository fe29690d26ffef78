"""What is asked of a board's server, and what it answers: a type each, so that each side reads the
other as a stranger.
"""

from dataclasses import dataclass
from typing import TypeVar

from edgekiln.runtime import codec
from edgekiln.runtime.device.device import Done
from edgekiln.runtime.errors import DeviceError
from edgekiln.runtime.host import Machine, State

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class FileRequest:
    """Ask whether a file of this content is there."""

    digest: str


@dataclass(frozen=True, kw_only=True)
class AdmitRequest:
    """Verify a bundle that was put."""

    bundle: str  # its hash
    name: str  # what errors call it
    signature: str  # base64


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """Run a stored file, its name first, with arguments."""

    command: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True, kw_only=True)
class BoardFacts:
    """What a board is, and how it is just now."""

    machine: Machine
    state: State
    flags: tuple[str, ...]  # of its CPU
    affinity: tuple[int, ...]
    demands_signatures: bool


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Whether a file is there."""

    here: bool


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of a program: one of the three."""

    timed_out: bool = False
    cannot_start: str = ""  # why
    done: Done | None = None


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """An answer without content."""


@dataclass(frozen=True, kw_only=True)
class BoardFault:
    """The error that the board met, in place of an answer."""

    exit_code: int
    message: str
    hint: str


def read(kind: type[T], message: object, sender: str) -> T:
    """The content of a message. Raises DeviceError where it is none of this kind."""
    try:
        return codec.decode(kind, message)
    except codec.CodecError as error:
        raise DeviceError(
            f"{sender} sent what is none of EdgeKiln's messages: {error}",
            "install the same EdgeKiln on both",
        ) from error
