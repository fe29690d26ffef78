"""What a farm tells of itself: who runs what, what waits, which boards are dead; and of strangers
nothing that could not be shown.
"""

import contextlib
import os
import signal
import sys
import threading

import pytest

from edgekiln.runtime import codec
from edgekiln.runtime.device import farm_status, wire
from edgekiln.runtime.device.farm_job import FarmJob, job_of_this_process
from edgekiln.runtime.device.farm_status import status_of
from edgekiln.runtime.device.rpc import RpcDevice
from edgekiln.runtime.device.tracker import TrackerConnection, connect
from edgekiln.runtime.errors import DeviceError
from tests.runtime.device import farm

for module in ("tvm", "tornado", "psutil", "cloudpickle"):
    pytest.importorskip(module)

KEY = "board-with-a-status"
JOB = FarmJob(
    id="0123456789abcdef", user="eve", host="pc", command="bench", program="x.ekb", priority=1
)


@pytest.fixture(scope="module")
def ask(tracker, serve):
    """The status of a key, by default of one with a single board."""
    serve(KEY)

    def status(key=KEY, expected=None):
        keys = status_of(("127.0.0.1", tracker), expected or {}).keys
        return next(each for each in keys if each.key == key)

    return status


def states(status):
    return [board.state for board in status.boards]


def test_a_status_says_who_runs_what_and_who_waits(monkeypatch, tracker, ask):
    device = farm.user_device(monkeypatch, tracker, KEY, "ana", priority=2)
    device.program = "/home/ana/secret project/resnet8.ekb"
    waiting = farm.user_device(monkeypatch, tracker, KEY, "ben", priority=5)
    thread = threading.Thread(target=lambda: waiting.__enter__().__exit__(None, None, None))
    with device:
        thread.start()
        farm.wait_until(lambda: ask().waiting)
        found = ask()
    thread.join(20.0)
    (board,), (queued,) = found.boards, found.waiting
    assert (board.state, board.job.user, board.job.program) == ("busy", "ana", "resnet8.ekb")
    assert board.job.host == os.uname().nodename.partition(".")[0]
    assert 0 <= board.busy_s < 30
    assert (queued.place, queued.job.user, queued.job.priority) == (1, "ben", 5)
    assert found.unnamed == 0
    told = codec.to_json(found)
    assert "secret" not in told
    assert "/" not in told
    farm.wait_until(lambda: states(ask()) == ["free"])
    assert ask().boards[0].job is None


def test_a_killed_board_is_missing_and_a_stopped_one_is_dead(monkeypatch, three_boards, ask):
    monkeypatch.setattr(farm_status, "PROBE_S", 0.5)
    key = "boards-of-which-two-fail"
    killed, stopped, _ = three_boards(key)
    killed.process.kill()
    stopped.process.send_signal(signal.SIGSTOP)
    farm.wait_until(lambda: len(ask(key).boards) == 2)
    found = ask(key, {key: 3})
    assert found.expected == 3
    assert {board.address: board.state for board in found.boards}[stopped.address] == "dead"
    assert sorted(states(found)) == ["dead", "free"]
    stopped.process.send_signal(signal.SIGCONT)
    farm.wait_until(lambda: states(ask(key)) == ["free", "free"])


def test_a_key_without_boards_is_listed_where_it_is_expected(ask):
    found = ask("nobody-serves-this", {"nobody-serves-this": 2})
    assert (found.boards, found.expected) == ((), 2)


def test_without_a_tracker_a_status_is_one_error():
    with pytest.raises(DeviceError, match="Connection refused") as caught:
        status_of(("127.0.0.1", farm.free_port()), {})
    assert "rpc_tracker" in caught.value.hint


UNSHOWABLE = [
    {**codec.encode(JOB), "user": "eve\x1b[2J"},
    {**codec.encode(JOB), "host": "pc\nrpi5: 9 boards"},
    {**codec.encode(JOB), "user": "\u202eeve"},
    {**codec.encode(JOB), "program": "/home/eve/x.ekb"},
    {**codec.encode(JOB), "program": "x" * 65},
    {**codec.encode(JOB), "user": ""},
    {**codec.encode(JOB), "id": "../../etc"},
    {**codec.encode(JOB), "priority": 10**9},
    {**codec.encode(JOB), "token": "secret"},
    {**codec.encode(JOB), "user": ["eve"]},
    "eve",
    None,
]


@pytest.mark.parametrize("job", UNSHOWABLE)
def test_what_cannot_be_shown_is_shown_by_no_board(tracker, ask, job):
    """The run itself is as good as any other."""
    with TrackerConnection(("127.0.0.1", tracker)) as queue:
        queue.ask(KEY, 1)
        given = queue.given()
    with connect((given.host, given.port), "the board") as session:
        session.settimeout(10)
        hello = {"verb": "hello", "protocol": wire.PROTOCOL, "password": given.password}
        wire.send(session, {**hello, "job": job})
        wire.receive(session, 0)
        wire.send(session, {"verb": "look"})
        answer, _ = wire.receive(session, 0)
        assert "machine" in answer
        (board,) = ask().boards
        assert (board.state, board.job) == ("busy", None)
    farm.wait_until(lambda: states(ask()) == ["free"])


def said_to(tracker, *infos):
    """Connections on which a stranger tells the tracker this."""
    opened = contextlib.ExitStack()
    for info in infos:
        connection = opened.enter_context(TrackerConnection(("127.0.0.1", tracker)))
        connection._ask([5, info])
    return opened


def test_what_strangers_tell_the_tracker_is_left_out(tracker, ask):
    waits = {"key": KEY, "since_s": 0.0, "asked": 1.0, "asked_s": 0.0}
    entry = {"key": f"server:waiting for {KEY}", "addr": [None, 0]}
    jobs = [{**entry, "edgekiln": {**waits, "job": job}} for job in UNSHOWABLE]
    nonsense = [
        {**entry, "edgekiln": 7},
        {**entry, "edgekiln": {**waits, "key": "a\x07", "job": codec.encode(JOB)}},
        {"key": f"server:{KEY}\x1b[2J", "addr": ["127.0.0.1", 9]},
        {"key": "server:", "addr": ["127.0.0.1", 9]},
        {"key": f"server:{KEY}", "addr": ["\x1b", 9]},
        {"key": f"server:{KEY}", "addr": ["127.0.0.1", 90_000]},
        {"key": f"server:{KEY}", "addr": [7]},
    ]
    with said_to(tracker, *jobs, *nonsense):
        found = ask()
        assert found.waiting == ()
        assert states(found) == ["free"]
        with RpcDevice("127.0.0.1", tracker, KEY) as device:
            assert device.machine().cores >= 1


def test_tvms_own_boards_and_clients_are_counted(tracker, ask):
    board = {"key": "server:of-tvm", "addr": ["127.0.0.1", farm.free_port()]}
    with said_to(tracker, board), TrackerConnection(("127.0.0.1", tracker)) as client:
        client.ask("of-tvm", 1)
        farm.wait_until(lambda: ask("of-tvm").unnamed == 1)
        assert states(ask("of-tvm")) == ["dead"]


def test_tvms_own_view_of_the_tracker_goes_on_working(tracker, ask):
    from tvm.rpc import TrackerSession

    def counts():
        """Boards, free ones, requests."""
        session = TrackerSession(("127.0.0.1", tracker))
        lines = session.text_summary().splitlines()
        session.close()
        return next(line.split()[1:] for line in lines if line.startswith(f"{KEY} "))

    device, waiting = (RpcDevice("127.0.0.1", tracker, KEY) for _ in range(2))
    thread = threading.Thread(target=lambda: waiting.__enter__().__exit__(None, None, None))
    with device:
        thread.start()
        farm.wait_until(lambda: ask().waiting)
        farm.wait_until(lambda: counts()[2] != "0")  # the request comes a moment later
        found = counts()
    thread.join(20.0)
    assert found == ["1", "0", "1"]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/opt/bin/edgekiln", "--debug", "bench", "secret.ekb", "--device", "x"], "bench"),
        (["/opt/bin/edgekiln", "devices", "check", "pi"], "devices check"),
        (["/opt/bin/edgekiln", "SECRET=1"], "python"),
        (["/home/ana/train.py", "--token", "secret"], "train.py"),
        (["/lib/pytest/__main__.py"], "pytest"),
        (["-c"], "python"),
        ([], "python"),
    ],
)
def test_a_run_names_its_command_and_no_arguments(monkeypatch, arguments, command):
    monkeypatch.setattr(sys, "argv", arguments)
    job = job_of_this_process("ana\n\x1b/ben", "/home/ana/" + "x" * 300 + ".ekb", 1)
    assert (job.user, job.command, job.program) == ("anaben", command, "x" * 64)
    assert job.is_valid
