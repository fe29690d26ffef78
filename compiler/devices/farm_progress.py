"""What a run waits for in a farm's queue, shown on stderr."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from edgekiln.compiler.documents.progress import notice, progress
from edgekiln.runtime.device.farm_queue import QueuePlace
from edgekiln.runtime.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekiln.compiler.pipeline.stage import Advance
    from edgekiln.runtime.device.farm_job import FarmJob

_NAMED = 3  # of those who go first, or are at work


class FarmProgress:
    """On a terminal a line that stays up to date, elsewhere one for each change."""

    def __init__(self) -> None:
        """Nothing is shown before there is something to wait for."""
        self._shown = ExitStack()
        self._advance: Advance | None = None

    def waits(self, place: QueuePlace) -> None:
        if self._advance is None:
            self._advance = self._shown.enter_context(progress("queue"))
        self._advance(0, 0, place_line(place))

    def served(self) -> None:
        self._advance = None
        self._shown.close()

    def lost(self, what: str) -> None:
        notice(f"warning: {what}")


def place_line(place: QueuePlace) -> str:
    """ "place 2 of 5 for rpi5, 3 boards; before: …; at work: …"."""
    number = len(place.before) + 1
    which = "next" if number == 1 else f"place {number}"
    parts = [f"{which} of {place.waiting} for {place.key}, {counted(place.boards, 'board')}"]
    if place.before:
        parts.append(f"before: {_named([each.job for each in place.before])}")
    if place.running:
        parts.append(f"at work: {_named(place.running)}")
    return "; ".join(parts)


def _named(jobs: "Sequence[FarmJob | None]") -> str:
    said = [f"{job.owner} {job.what}" if job else "somebody" for job in jobs[:_NAMED]]
    if len(jobs) > _NAMED:
        said.append(f"{len(jobs) - _NAMED} more")
    return ", ".join(said)
