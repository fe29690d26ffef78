"""Whose run it is and of what: what a client says of itself to those who share a farm with it.

Nobody proves it, so it is shown and gives no rights. It names neither paths nor arguments.
"""

import platform
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime import codec

LONGEST = 64  # characters of a word that others show
MAX_PRIORITY = 1_000_000
_ID = re.compile(r"[0-9a-f]{16}")
_SUBCOMMAND = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True, kw_only=True)
class FarmJob:
    """One run, from its place in the queue to the board that it got."""

    id: str  # the same wherever it is told of
    user: str
    host: str  # of the client
    command: str  # "bench"
    program: str  # a bundle's name, without its folder; "" where none is known yet
    priority: int  # higher goes first

    @property
    def owner(self) -> str:
        """Who runs it, and from where."""
        return f"{self.user}@{self.host}"

    @property
    def what(self) -> str:
        """What is run."""
        return f"{self.command} {self.program}".rstrip()

    @property
    def is_valid(self) -> bool:
        """Whether others may show it: it may come from anybody."""
        needed = (self.user, self.host, self.command)
        return (
            _ID.fullmatch(self.id) is not None
            and all(needed)
            and all(map(is_word, (*needed, self.program)))
            and abs(self.priority) <= MAX_PRIORITY
        )


def valid_job(said: object) -> FarmJob | None:
    """What a stranger says of a run; None where it cannot be shown."""
    try:
        job = codec.decode(FarmJob, said)
    except codec.CodecError:
        return None
    return job if job.is_valid else None


def is_word(text: str) -> bool:
    """Whether a stranger's text can be shown as it is: short, no path, no control characters."""
    return len(text) <= LONGEST and text.isprintable() and not re.search(r"[/\\]", text)


def job_of_this_process(user: str, program: str, priority: int) -> FarmJob:
    """What this process says of a run, in words that others show."""
    return FarmJob(
        id=secrets.token_hex(8),
        user=_word(user) or "unknown",
        host=_word(platform.node().partition(".")[0]) or "unknown",
        command=_word(_command()) or "python",
        program=_word(Path(program).name),
        priority=priority,
    )


def _word(text: str) -> str:
    return "".join(letter for letter in text if is_word(letter))[:LONGEST]


def _command() -> str:
    """The subcommand of `edgekiln`, or the name of another program; never its arguments."""
    script = Path(sys.argv[0] if sys.argv else "")
    if script.name == "edgekiln":
        words = [each for each in sys.argv[1:] if not each.startswith("-")]
        depth = 2 if words[:1] == ["devices"] else 1
        return " ".join(word for word in words[:depth] if _SUBCOMMAND.fullmatch(word))
    if script.name == "__main__.py":
        return script.parent.name
    return "" if script.name == "-c" else script.name
