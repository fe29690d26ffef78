"""How the boards of a farm are: who runs what on them, what waits, and which are dead."""

import contextlib
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from edgekiln.runtime.device import wire
from edgekiln.runtime.device.farm_job import FarmJob
from edgekiln.runtime.device.farm_view import FarmBoard, FarmView
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.tracker import TRACKER_HINT, TrackerConnection
from edgekiln.runtime.errors import DeviceError

PROBE_S = 3.0  # for a board to answer
_AT_ONCE = 32  # boards that are asked
# Dead: it cannot be reached, or is free and says nothing. Unknown: a server that is not EdgeKiln's.
BoardState = Literal["free", "busy", "dead", "unknown"]


@dataclass(frozen=True, kw_only=True)
class BoardStatus:
    """One board that the tracker knows."""

    address: str
    state: BoardState
    job: FarmJob | None  # null: it runs none, or its client does not say
    busy_s: float | None  # by the clocks of the board and of who asks


@dataclass(frozen=True, kw_only=True)
class WaitingStatus:
    """One run in a queue."""

    place: int  # 1 goes next
    job: FarmJob
    waits_s: float


@dataclass(frozen=True, kw_only=True)
class KeyStatus:
    """The boards of a key, and the queue before them."""

    key: str
    boards: tuple[BoardStatus, ...]
    expected: int  # boards that devices.toml speaks of; 0 where it does not
    waiting: tuple[WaitingStatus, ...]
    unnamed: int  # requests of clients that do not say who they are, or that have left


@dataclass(frozen=True, kw_only=True)
class TrackerStatus:
    """A tracker and its keys."""

    tracker: str
    keys: tuple[KeyStatus, ...]


def status_of(tracker: tuple[str, int], expected: Mapping[str, int]) -> TrackerStatus:
    """Ask a tracker, and each of its boards whether it is there.

    Args:
        expected: how many boards there should be, by key; those keys are listed in any case.

    Raises:
        DeviceError: the tracker cannot be reached.
    """
    try:
        with TrackerConnection(tracker) as connection:
            view = connection.view()
    except ConnectionLost as error:
        raise DeviceError(str(error), TRACKER_HINT) from error
    with ThreadPoolExecutor(_AT_ONCE) as asking:
        alive = dict(zip(view.boards, asking.map(_answers, view.boards), strict=True))
    keys = {board.key for board in view.boards} | {each.key for each in view.waiting}
    keys |= {key for key, requests in view.requests.items() if requests} | expected.keys()
    now_s = time.time()
    return TrackerStatus(
        tracker=f"{tracker[0]}:{tracker[1]}",
        keys=tuple(_key(view, key, expected.get(key, 0), alive, now_s) for key in sorted(keys)),
    )


def _key(
    view: FarmView, key: str, expected: int, alive: Mapping[FarmBoard, bool], now_s: float
) -> KeyStatus:
    waiting = [
        WaitingStatus(place=place, job=each.job, waits_s=max(0.0, now_s - each.since_s))
        for place, each in enumerate(view.waiting_for(key), start=1)
    ]
    return KeyStatus(
        key=key,
        boards=tuple(_board(board, alive[board], now_s) for board in view.boards_of(key)),
        expected=expected,
        waiting=tuple(waiting),
        unnamed=max(0, view.requests.get(key, 0) - len(waiting)),
    )


def _board(board: FarmBoard, alive: bool, now_s: float) -> BoardStatus:
    news = board.news
    state: BoardState = "unknown" if news is None else "busy" if news.busy else "free"
    busy = news is not None and news.busy and alive
    return BoardStatus(
        address=board.address,
        state=state if alive else "dead",
        job=news.job if news is not None and busy else None,
        busy_s=max(0.0, now_s - news.since_s) if news is not None and busy else None,
    )


def _answers(board: FarmBoard) -> bool:
    """Whether there is a server. One that is at work is not spoken to, only connected with."""
    is_free = board.news is not None and not board.news.busy
    try:
        with socket.create_connection((board.host, board.port), PROBE_S) as connection:
            if is_free:
                # Without a password: it says so, or closes when another one has come in.
                wire.send(connection, {"verb": "hello", "protocol": wire.PROTOCOL})
                with contextlib.suppress(ConnectionResetError):
                    connection.recv(1)
    except (OSError, ValueError, ConnectionLost):  # ValueError: a name that no host can have
        return False
    return True
