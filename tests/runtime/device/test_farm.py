"""Three boards of a key that several users share, behind a real tracker: whose turn it is."""

import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.device import farm_queue, lease
from edgekiln.runtime.device.farm_queue import fair_priority
from edgekiln.runtime.device.farm_status import status_of
from edgekiln.runtime.device.tracker import TrackerConnection
from tests.runtime.device import farm

for module in ("tvm", "tornado", "psutil", "cloudpickle"):
    pytest.importorskip(module)

KEY = "three-boards"
SLOW = b"#!/bin/sh\nsleep 0.5\necho $1\n"


class Losses:
    """A watcher that keeps what was lost."""

    def __init__(self):
        self.lines, self.places = [], []

    def waits(self, place):
        self.places.append(place)

    def served(self):
        pass

    def lost(self, what):
        self.lines.append(what)


@pytest.fixture(scope="module")
def boards(three_boards):
    return three_boards(KEY)


@pytest.fixture
def as_user(monkeypatch, tracker, boards):
    """Devices of users, by their names."""
    assert len(boards) == 3

    def open_device(user, **options):
        return farm.user_device(monkeypatch, tracker, KEY, user, **options)

    return open_device


@pytest.fixture
def one_board(as_user):
    """All boards are taken; when this is called one gets free, on which runs follow each other."""
    with ExitStack() as held, ExitStack() as last:
        for _ in range(2):
            held.enter_context(as_user("zoe"))
        last.enter_context(as_user("zoe"))
        yield last.close


class Queue:
    """Runs that wait for a board; whose they were, in the order in which they got one."""

    def __init__(self, tracker, as_user, seconds):
        self.served, self._threads = [], []
        self._tracker, self._as_user, self._seconds = tracker, as_user, seconds

    def add(self, user, *, times=1, **options):
        """Returns when it waits; `times` runs, one after the other."""
        device = self._as_user(user, **options)

        def run():
            for _ in range(times):
                with device:
                    self.served.append(user)
                    time.sleep(self._seconds)

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()
        farm.wait_until(lambda: len(self.requests()) == len(self._threads))

    def requests(self):
        """Those that the tracker holds, and of whom."""
        found = farm.view(self._tracker)
        return found.waiting_for(KEY)[: found.requests.get(KEY, 0)]

    def join(self):
        for each in self._threads:
            each.join(25.0)
        return self.served


def test_many_runs_of_one_user_do_not_keep_anothers_waiting(
    monkeypatch, tracker, as_user, one_board
):
    monkeypatch.setattr(farm_queue, "FIRST_LOOK_S", 20.0)
    queue = Queue(tracker, as_user, 0.05)
    for _ in range(8):
        queue.add("ana")
    for _ in range(2):
        queue.add("ben")
    one_board()
    assert queue.join() == ["ana", "ben", "ana", "ben", *["ana"] * 6]


def test_a_higher_priority_goes_before_anybodys_share(monkeypatch, tracker, as_user, one_board):
    monkeypatch.setattr(farm_queue, "FIRST_LOOK_S", 20.0)
    queue = Queue(tracker, as_user, 0.05)
    queue.add("ben", priority=1)
    for _ in range(4):
        queue.add("ana", priority=2)
    one_board()
    assert queue.join() == [*["ana"] * 4, "ben"]


@given(st.integers(-1000, 1000), st.integers(0, 100_000), st.integers(1, 1000))
def test_a_share_is_worth_less_than_a_step_of_priority(priority, own, more):
    asked = fair_priority(priority, own)
    assert priority - 1 < asked <= priority
    assert fair_priority(priority, own + more) < asked


def test_who_comes_again_and_again_does_not_starve_who_waits(
    monkeypatch, tracker, as_user, one_board
):
    """One of the other's runs is always waiting; the last of four moves up as three get through."""
    monkeypatch.setattr(farm_queue, "FIRST_LOOK_S", 0.1)
    monkeypatch.setattr(farm_queue, "LOOK_S", 0.1)
    queue = Queue(tracker, as_user, 0.4)
    for _ in range(4):
        queue.add("ana")
    for _ in range(2):
        queue.add("ben", times=7)
    one_board()
    served = queue.join()
    assert Counter(served) == {"ana": 4, "ben": 14}
    assert served[-2:] == ["ben", "ben"]


def test_equal_boards_are_used_equally(as_user, boards):
    used: Counter[str] = Counter()
    for _ in range(9):
        with as_user("ana") as device:
            used[device._board] += 1
    assert used == {board.address: 3 for board in boards}


def test_a_place_in_the_queue_says_what_is_before_it(monkeypatch, tracker, as_user, one_board):
    monkeypatch.setattr(farm_queue, "FIRST_LOOK_S", 0.1)
    monkeypatch.setattr(farm_queue, "LOOK_S", 0.1)
    queue = Queue(tracker, as_user, 0.1)
    queue.add("ana", priority=7)
    device, watcher = as_user("ben"), Losses()
    device.watcher = watcher
    waiting = threading.Thread(target=lambda: device.__enter__().__exit__(None, None, None))
    waiting.start()
    farm.wait_until(lambda: watcher.places)
    place = watcher.places[0]
    assert [each.job.user for each in place.before] == ["ana"]
    assert (place.key, place.waiting, place.boards) == (KEY, 2, 3)
    assert {job.user for job in place.running} == {"zoe"}
    one_board()
    waiting.join(20.0)
    assert queue.join() == ["ana"]


def test_under_load_and_kills_every_run_is_answered_once(monkeypatch, tracker, three_boards):
    """One board is killed in a run, another one stopped; the third takes over."""
    monkeypatch.setattr(lease, "PAUSE_S", 0.1)
    monkeypatch.setattr(farm_queue, "LOOK_S", 0.2)
    key = "three-boards-of-which-two-fail"
    killed, stopped, _ = three_boards(key)
    watcher = Losses()
    wanted = [f"{user}-{number}" for user in ("ana", "ben", "cem") for number in range(4)]

    def run(name):
        device = farm.user_device(monkeypatch, tracker, key, name[:3], timeout_s=2.0)
        device.watcher = watcher
        with device:
            return device.run([device.put(SLOW), name], 2.0).stdout.strip()

    with ThreadPoolExecutor(len(wanted)) as users:
        running = users.map(run, wanted)
        farm.wait_until(lambda: killed.children() and stopped.children())
        killed.process.kill()
        stopped.process.send_signal(signal.SIGSTOP)
        answers = list(running)
    assert answers == wanted
    said = "\n".join(watcher.lines)
    assert f"board {killed.address}: " in said
    assert f"board {stopped.address}: no answer in time" in said
    assert all("the run goes on on the next board" in line for line in watcher.lines)
    stopped.process.send_signal(signal.SIGCONT)
    farm.wait_until(lambda: states(tracker, key) == ["free", "free"])


def test_a_withdrawn_request_takes_no_board_from_the_next(tracker, one_board):
    address = ("127.0.0.1", tracker)
    with TrackerConnection(address) as first, TrackerConnection(address) as second:
        first.ask(KEY, 9)
        farm.wait_until(lambda: farm.view(tracker).requests[KEY] == 1)
        assert first.withdraw() is None
        second.ask(KEY, 1)
        one_board()
        farm.wait_until(lambda: farm.view(tracker).requests[KEY] == 0, seconds=5.0)
        given = second.withdraw()
    assert given is not None
    assert given.password.startswith(f"{KEY}:")


def states(tracker, key):
    found = status_of(("127.0.0.1", tracker), {}).keys
    return [board.state for each in found if each.key == key for board in each.boards]
