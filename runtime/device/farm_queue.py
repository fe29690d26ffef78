"""A run's place in a tracker's queue: which priority it asks with, and what is before it.

The tracker gives its boards by priority, then in order, and knows no users. So that one user's many
runs do not keep another one's few waiting, clients ask by less the more of their user's runs go
first: a run that has n of them before it, running or waiting, asks by n / (n + 1) less. Users of
equal priority take turns by that, and whole numbers, which users give, go before it. Where others
have finished in the meantime, a run leaves the queue and asks anew by what it has become.

Nothing enforces this: it holds between clients that do so, under the names that they say.
"""

import math
import select
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

from edgekiln.runtime.device.farm_job import FarmJob
from edgekiln.runtime.device.farm_view import FarmView, WaitingJob
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.tracker import GivenBoard, TrackerConnection

FIRST_LOOK_S = 0.5  # where a board is free, it is given before that
LOOK_S = 5.0  # between two looks at who is before, and whether there is a board to wait for


@dataclass(frozen=True, kw_only=True)
class QueuePlace:
    """Where a run stands, and why it waits."""

    key: str
    before: tuple[WaitingJob, ...]  # who goes first
    waiting: int  # all in the queue for this key, itself among them
    boards: int
    running: tuple[FarmJob | None, ...]  # None: of a client that does not say


class QueueWatcher(Protocol):
    """Whoever shows a user what a farm makes them wait for."""

    def waits(self, place: QueuePlace) -> None:
        """The run still waits, here."""
        ...

    def served(self) -> None:
        """The wait is over, with a board or by an error; also called where there was none."""
        ...

    def lost(self, what: str) -> None:
        """What the run was connected to is gone, and the run goes on without it."""
        ...


class NobodyWatches:
    """The watcher of a run whose user is shown nothing."""

    def waits(self, place: QueuePlace) -> None: ...

    def served(self) -> None: ...

    def lost(self, what: str) -> None: ...


def own_before(view: FarmView, mine: WaitingJob) -> tuple[int, int]:
    """How many runs of the same user are at work on boards of the key, and how many wait there and
    go first: those of a higher priority, and of an equal one the earlier ones.
    """
    running = [board.news.job for board in view.running(mine.key) if board.news is not None]
    working = sum(job is not None and job.user == mine.job.user for job in running)
    rank = (-mine.job.priority, mine.since_s, mine.job.id)
    earlier = sum(
        each.job.user == mine.job.user and (-each.job.priority, each.since_s, each.job.id) < rank
        for each in view.waiting_for(mine.key)
    )
    return working, earlier


def fair_priority(priority: int, own: int) -> float:
    """What a run asks by that has so many of its user's before it: never as little as the next
    lower whole number.
    """
    return priority - own / (own + 1)


class FarmQueue:
    """Enter it to be announced, `wait` for a board, and leave it when the board has said hello."""

    def __init__(
        self, tracker: tuple[str, int], key: str, job: FarmJob, since_s: float,
        watcher: QueueWatcher,
    ) -> None:  # fmt: skip
        """The queue for boards of a key. `since_s`: Unix time from when on the run has waited."""
        self._address, self._watcher = tracker, watcher
        self._mine = WaitingJob(
            key=key, job=job, since_s=since_s, asked=job.priority, asked_s=since_s
        )
        self._own = 0  # of the user, that go first, as it was when we asked
        self._open: list[TrackerConnection] = []

    def __enter__(self) -> Self:
        """Raises ConnectionLost."""
        self._desk = self._connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._open:
            connection.close()

    def wait(self, patience_s: float = math.inf) -> GivenBoard:
        """A board of the key.

        Raises ConnectionLost also where there is none, or is none any more, or nobody got free
        within `patience_s`.
        """
        until = time.monotonic() + patience_s
        # Known before the look: of two that come at once, one sees the other.
        self._desk.announce_waiting(self._mine)
        place = self._ask(sum(own_before(self._look(), self._mine)))
        pause_s = FIRST_LOOK_S
        try:
            while not select.select([place.socket], [], [], pause_s)[0]:
                view = self._look()
                if time.monotonic() > until:
                    key = self._mine.key
                    raise ConnectionLost(f"{self._desk.name}: no board of key {key!r} gets free")
                if (own := self._turned(view)) is not None:
                    # First this, then anew: nobody is given two boards.
                    if given := place.withdraw():
                        return given
                    place = self._ask(own)
                seen = self._seen(view)
                self._watcher.waits(seen)
                # Who is far behind looks less often, so that a long queue costs the tracker little.
                pause_s = LOOK_S * (1 + len(seen.before) / 10)
            return place.given()
        finally:
            self._watcher.served()

    def _connect(self) -> TrackerConnection:
        self._open.append(TrackerConnection(self._address))
        return self._open[-1]

    def _ask(self, own: int) -> TrackerConnection:
        """Enter the tracker's queue, with so many of the user's own going first."""
        self._own = own
        asked = fair_priority(self._mine.job.priority, own)
        self._mine = replace(self._mine, asked=asked, asked_s=time.time())
        self._desk.announce_waiting(self._mine)
        for place in self._open[1:]:
            place.close()
        del self._open[1:]
        place = self._connect()
        place.ask(self._mine.key, asked)
        return place

    def _look(self) -> FarmView:
        view, key = self._desk.view(), self._mine.key
        known = sorted({board.key for board in view.boards})
        if key not in known:
            others = f"; keys are: {', '.join(known)}" if known else ", nor any other"
            raise ConnectionLost(f"{self._desk.name} knows no board of key {key!r}{others}")
        return view

    def _turned(self, view: FarmView) -> int | None:
        """How many of the user's own go first, where that is worth asking anew: always for the
        first of them in the queue; for others when it is about half of what it was.
        """
        working, earlier = own_before(view, self._mine)
        own = working + earlier
        if own == self._own or (earlier and own.bit_length() == self._own.bit_length()):
            return None
        return own

    def _seen(self, view: FarmView) -> QueuePlace:
        queue = view.waiting_for(self._mine.key)
        return QueuePlace(
            key=self._mine.key,
            before=tuple(each for each in queue if each.order < self._mine.order),
            waiting=max(len(queue), 1),
            boards=len(view.boards_of(self._mine.key)),
            running=tuple(b.news.job for b in view.running(self._mine.key) if b.news is not None),
        )
