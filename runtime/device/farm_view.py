"""What a tracker's summary says of a farm: its boards, what runs on them, and what waits.

TVM's tracker keeps for each connection whatever is said on it, and forgets it when that ends. In
that way boards say what they run, and waiting clients who they are. All of it is strangers' text:
what is none of ours is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from edgekiln.runtime import codec
from edgekiln.runtime.device.farm_job import FarmJob

T = TypeVar("T")
OURS = "edgekiln"  # the key under which our news stand in what a tracker keeps
_BOARD = "server:"  # before the key of a board: as TVM's own have it
# As such a key, the tracker lists it; and nobody takes it for a board of the client's key.
_WAITING = "server:waiting for "
_LONGEST_NAME = 255  # as of hosts


@dataclass(frozen=True, kw_only=True)
class BoardNews:
    """What a board says of itself."""

    busy: bool
    since_s: float  # Unix time, by its clock
    job: FarmJob | None  # None: it is free, or its client does not say


@dataclass(frozen=True, kw_only=True)
class WaitingJob:
    """What a client in the queue says of itself."""

    key: str  # of the boards that it waits for
    job: FarmJob
    since_s: float  # Unix time, by its clock
    asked: float  # the priority that the tracker knows
    asked_s: float  # Unix time

    @property
    def order(self) -> tuple[float, float, str]:
        """Less is sooner: as the tracker has it, as far as clocks agree."""
        return -self.asked, self.asked_s, self.job.id


@dataclass(frozen=True, kw_only=True)
class FarmBoard:
    """A board that the tracker knows."""

    key: str
    host: str
    port: int
    news: BoardNews | None  # None: it does not say, as TVM's own do not

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class FarmView:
    """A farm in a moment."""

    boards: tuple[FarmBoard, ...]
    waiting: tuple[WaitingJob, ...]  # of all keys, who is next first
    requests: Mapping[str, int]  # in the queue of each key, also of clients that say nothing

    def boards_of(self, key: str) -> tuple[FarmBoard, ...]:
        """The boards of this key, be they free or at work."""
        return tuple(board for board in self.boards if board.key == key)

    def running(self, key: str) -> tuple[FarmBoard, ...]:
        """Those boards of the key that say that they are at work."""
        return tuple(b for b in self.boards_of(key) if b.news is not None and b.news.busy)

    def waiting_for(self, key: str) -> tuple[WaitingJob, ...]:
        """The queue before these boards. Who has just got one is no longer in it."""
        served = {b.news.job.id for b in self.running(key) if b.news and b.news.job}
        return tuple(w for w in self.waiting if w.key == key and w.job.id not in served)


def told_by_board(key: str, host: str | None, port: int, news: BoardNews) -> dict[str, object]:
    """What a board has the tracker keep. None: the host that its connection comes from."""
    return {"key": _BOARD + key, "addr": [host, port], OURS: codec.encode(news)}


def told_by_client(news: WaitingJob) -> dict[str, object]:
    """What a waiting client has the tracker keep."""
    return {"key": _WAITING + news.key, "addr": [None, 0], OURS: codec.encode(news)}


def view_of(summary: object) -> FarmView:
    """Read a tracker's summary. Raises ValueError where it is none of TVM's."""
    try:
        entries = _expect(list, _expect(dict, summary)["server_info"])
        queues = _expect(dict, _expect(dict, summary)["queue_info"])
        requests = {str(key): int(queue["pending"]) for key, queue in queues.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no summary of a tracker: {error}") from error
    boards, waiting = [], []
    for entry in entries:
        if isinstance(entry, dict) and str(entry.get("key")).startswith(_WAITING):
            waiting += _waiting_of(entry)
        elif isinstance(entry, dict):
            boards += _board_of(entry)
    return FarmView(
        boards=tuple(sorted(boards, key=lambda each: (each.key, each.host, each.port))),
        waiting=tuple(sorted(waiting, key=lambda each: each.order)),
        requests=requests,
    )


def _board_of(entry: Mapping[str, object]) -> list[FarmBoard]:
    key, address = entry.get("key"), entry.get("addr")
    match address:
        case [str(host), int(port)] if _is_name(host) and 0 < port < 65536:
            pass
        case _:
            return []
    if not isinstance(key, str) or not key.startswith(_BOARD) or not _is_name(key):
        return []
    news = _decoded(BoardNews, entry.get(OURS))
    if news is not None and news.job is not None and not news.job.is_valid:
        news = replace(news, job=None)
    return [FarmBoard(key=key.removeprefix(_BOARD), host=host, port=port, news=news)]


def _waiting_of(entry: Mapping[str, object]) -> list[WaitingJob]:
    news = _decoded(WaitingJob, entry.get(OURS))
    if news is None or not news.job.is_valid or not _is_name(news.key):
        return []
    return [news]


def _is_name(text: str) -> bool:
    """Whether it can be shown: of a key or a host, which others may have made up."""
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()


def _decoded(kind: type[T], data: object) -> T | None:
    try:
        return codec.decode(kind, data)
    except codec.CodecError:
        return None


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"wanted {kind.__name__}, found {type(value).__name__}")
    return value
