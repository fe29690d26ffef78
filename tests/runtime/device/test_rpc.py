"""Boards of a farm: a real tracker, and two servers that are given out one run at a time."""

import signal
import threading
import time

import pytest

from edgekiln.runtime import bench
from edgekiln.runtime.device import board_server, farm_queue, lease, rpc
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.rpc import RpcDevice
from edgekiln.runtime.errors import BundleError, ConfigError, DeviceError, MismatchError
from tests.runtime.device.farm import KEY, free_port

for module in ("tvm", "tornado", "psutil", "cloudpickle"):
    pytest.importorskip(module)


@pytest.fixture
def device(two_boards):
    return RpcDevice("127.0.0.1", two_boards, KEY)


def test_a_board_checks_and_measures(device, checkable):
    with device:
        assert check_example(checkable(), device) == ("y",)
        assert device.sent_bytes > 0
    result = bench.bench(checkable(), trials=2, min_seconds=0.05, device=device)
    assert result.device == device.name == f"rpc://127.0.0.1:{device._tracker[1]}/{KEY}"
    assert result.median_s > 0
    assert result.machine.cores >= 1


def test_nothing_is_sent_twice(tracker, serve, checkable):
    own = "board-that-keeps"
    serve(own)
    device = RpcDevice("127.0.0.1", tracker, own)
    with device:
        check_example(checkable(), device)
        first = device.sent_bytes
        check_example(checkable(), device)
        assert device.sent_bytes == first
    with device:
        check_example(checkable(), device)
        assert device.sent_bytes == first


def test_the_runners_own_errors_come_through(device, checkable):
    with device, pytest.raises(MismatchError, match=r"example/output_0\.bin"):
        check_example(checkable(wrong=True), device)


def test_a_wrong_architecture_is_refused(device, checkable):
    with device, pytest.raises(BundleError, match=r"made for riscv64 .*, rpc://"):
        check_example(checkable(machine="riscv64"), device)


def test_a_program_that_prints_bytes_without_end_is_answered(device):
    """Also of bytes that JSON writes as six: the client would take the connection for lost."""
    script = b"#!/bin/sh\nhead -c 9000000 /dev/zero\nhead -c 9000000 /dev/zero >&2\nexit 3\n"
    with device:
        done = device.run([device.put(script)], 20.0)
    assert done.exit_code == 3
    assert set(done.stdout) == set(done.stderr) == {"\0"}


def test_a_program_that_hangs_is_ended(device):
    with device:
        script = device.put(b"#!/bin/sh\nsleep 60\n")
        with pytest.raises(TimeoutError):
            device.run([script], 0.2)


def test_a_third_run_waits_for_one_of_two_boards(two_boards):
    held = [RpcDevice("127.0.0.1", two_boards, KEY) for _ in range(2)]
    for each in held:
        each.__enter__()
    got = threading.Event()

    def third():
        with RpcDevice("127.0.0.1", two_boards, KEY):
            got.set()

    waiting = threading.Thread(target=third, daemon=True)
    waiting.start()
    assert not got.wait(1.0)
    for each in held:
        each.__exit__(None, None, None)
    assert got.wait(30.0)
    waiting.join(30.0)


def test_the_queue_is_by_priority(two_boards):
    held = [RpcDevice("127.0.0.1", two_boards, KEY) for _ in range(2)]
    for each in held:
        each.__enter__()
    order = []

    def run(priority):
        with RpcDevice("127.0.0.1", two_boards, KEY, priority=priority):
            order.append(priority)
            time.sleep(0.2)

    threads = []
    for priority in (1, 9):
        threads.append(threading.Thread(target=run, args=(priority,), daemon=True))
        threads[-1].start()
        time.sleep(1.0)  # in the queue, one after the other
    held[0].__exit__(None, None, None)
    threads[1].join(30.0)
    held[1].__exit__(None, None, None)
    threads[0].join(30.0)
    assert order[0] == 9


def test_a_lost_board_is_replaced_by_another(tracker, serve, checkable, monkeypatch):
    monkeypatch.setattr(lease, "PAUSE_S", 0.1)
    own = "board-that-dies"
    first = serve(own)
    with RpcDevice("127.0.0.1", tracker, own) as device:
        check_example(checkable(), device)
        serve(own)
        first.process.kill()
        assert check_example(checkable(), device) == ("y",)


def test_a_key_that_no_board_has_is_one_error_and_no_endless_queue(tracker, serve, monkeypatch):
    monkeypatch.setattr(lease, "PAUSE_S", 0.1)
    monkeypatch.setattr(farm_queue, "LOOK_S", 0.2)
    serve("another-board")
    with pytest.raises(DeviceError, match=r"knows no board of key .mispelt.; keys are: .*another-"):
        RpcDevice("127.0.0.1", tracker, "mispelt").__enter__()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_only_board_that_dies_in_a_run_is_one_error(tracker, serve, monkeypatch, number):
    monkeypatch.setattr(lease, "PAUSE_S", 0.1)
    monkeypatch.setattr(farm_queue, "LOOK_S", 0.2)
    own = f"board-that-dies-by-{number.name}"
    board = serve(own)
    with RpcDevice("127.0.0.1", tracker, own) as device:
        script = device.put(b"#!/bin/sh\nsleep 60\n")
        dying = threading.Timer(0.5, board.process.send_signal, [number])
        dying.start()
        with pytest.raises(DeviceError, match=f"connection lost: .*no board of key '{own}'"):
            device.run([script], 60.0)
        dying.join()


def test_a_board_that_hangs_is_waited_for_no_longer_than_told(tracker, serve, monkeypatch):
    monkeypatch.setattr(lease, "PAUSE_S", 0.1)
    monkeypatch.setattr(farm_queue, "LOOK_S", 0.2)
    monkeypatch.setattr(rpc, "AGAIN_S", 0.5)
    own = "board-that-hangs"
    board = serve(own)
    with RpcDevice("127.0.0.1", tracker, own, timeout_s=1.0) as device:
        board.process.send_signal(signal.SIGSTOP)
        with pytest.raises(DeviceError, match=f"no board of key '{own}' gets free"):
            device.state()
        board.process.send_signal(signal.SIGCONT)


def test_without_a_tracker_its_address_is_named(monkeypatch):
    monkeypatch.setattr(lease, "PAUSE_S", 0.01)
    port = free_port()
    with pytest.raises(DeviceError) as caught, RpcDevice("127.0.0.1", port, KEY):
        pass
    assert f"connection lost: tracker 127.0.0.1:{port}: Connection refused" in caught.value.message
    assert caught.value.exit_code == 13
    with pytest.raises(DeviceError, match="Connection refused") as caught:
        board_server.BoardServer(board_server.offer_of(f"127.0.0.1:{port}", KEY))
    assert "rpc_tracker" in caught.value.hint


def test_a_tracker_without_a_port_is_a_usage_error():
    with pytest.raises(ConfigError, match="tracker = 'somewhere'"):
        board_server.offer_of("somewhere", KEY)
