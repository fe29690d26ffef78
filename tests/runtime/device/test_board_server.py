"""What a board of a farm does by itself: it ends, confines, and refuses."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgekiln.runtime import bench
from edgekiln.runtime.device import board_server, wire
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.messages import Nothing, Ran
from edgekiln.runtime.device.rpc import RpcDevice
from edgekiln.runtime.errors import BundleError, ConfigError, DeviceError, InputError
from edgekiln.runtime.signature import sign
from tests.runtime.device.farm import KEY, summary, wait_until

for module in ("tvm", "tornado", "psutil", "cloudpickle"):
    pytest.importorskip(module)


@pytest.fixture
def device(two_boards):
    return RpcDevice("127.0.0.1", two_boards, KEY)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_its_programs_and_its_registration(tracker, serve, number):
    own = f"board-that-ends-by-{number}"
    board = serve(own)
    wait_until(lambda: own in summary(tracker))
    device = RpcDevice("127.0.0.1", tracker, own)
    device.__enter__()
    script = device.put(b"#!/bin/sh\nsleep 300 & sleep 300\n")

    def run():
        with contextlib.suppress(ConnectionLost):
            device._call(Ran, "run", {"command": [script], "timeout_s": 60.0}, timeout_s=60.0)

    client = threading.Thread(target=run)
    client.start()
    wait_until(board.children)
    (group,) = board.children()
    wait_until(lambda: os.getpgid(group) == group)  # a child leads its own once it has begun
    stdout, stderr = board.end(number)
    assert board.process.returncode == 0
    assert (stdout, stderr) == ("ended; the tracker no longer gives this machine out\n", "")
    wait_until(lambda: not alive(group))
    wait_until(lambda: own not in summary(tracker))
    client.join(30)
    device.__exit__(None, None, None)


def alive(group):
    """Whether a process of this group is running; dead ones may wait for init to notice."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def test_a_client_that_goes_away_takes_its_program_along(tracker, serve):
    own = "board-that-is-left"
    board = serve(own)
    device = RpcDevice("127.0.0.1", tracker, own)
    device.__enter__()
    script = device.put(b"#!/bin/sh\nsleep 300\n")
    request = {"verb": "run", "command": [script], "timeout_s": 60.0}
    wire.send(device._session, request)
    wait_until(board.children)
    device.__exit__(None, None, None)
    wait_until(lambda: board.children() == [])
    with RpcDevice("127.0.0.1", tracker, own) as again:
        assert again.machine().cores >= 1


@pytest.mark.parametrize("name", ["/bin/sh", "../../../bin/sh", "sh", "", "a" * 64 + "/.."])
def test_nothing_but_stored_files_is_started_or_read(device, name):
    with device:
        for verb, request in {
            "run": {"command": [name], "timeout_s": 1.0},
            "have": {"digest": name},
            "admit": {"bundle": name, "name": "x", "signature": ""},
        }.items():
            with pytest.raises(DeviceError, match="is no file of the board's"):
                device._call(Nothing, verb, request)


@pytest.mark.parametrize("argument", ["/etc/passwd", "../secret", "--output=/tmp/x"])
def test_arguments_lead_nowhere_outside_the_session(device, argument):
    with device:
        script = device.put(b"#!/bin/sh\ncat $1\n")
        with pytest.raises(DeviceError, match="leads out of the session's folder"):
            device.run([script, argument], 5.0)


def test_a_program_for_another_machine_is_named_with_the_systems_reason(device):
    with device:
        foreign = device.put(b"\x7fELF, but for nothing that exists")
        with pytest.raises(OSError, match="Exec format error"):
            device.run([foreign], timeout_s=30.0)
        assert device.run([device.put(b"#!/bin/sh\necho on\n")], timeout_s=30.0).stdout == "on\n"


def test_programs_run_in_a_folder_of_their_session_that_is_removed(device):
    with device:
        script = device.put(b"#!/bin/sh\npwd; echo kept >mark; ls\n")
        place, *files = device.run([script], 5.0).stdout.splitlines()
        assert Path(place).name.startswith("edgekiln-session-")
        assert sorted(files) == sorted(["mark", script])
    wait_until(lambda: not Path(place).exists())


def test_only_whom_the_tracker_sent_gets_in(tracker, serve):
    board = serve("board-with-a-password")
    address = re.search(r"at (\S+):(\d+), for", board.said)
    for hello in ({"protocol": wire.PROTOCOL, "password": "guess"}, {"protocol": 99}, {}):
        with socket.create_connection((address[1], int(address[2]))) as client:
            client.settimeout(10)
            wire.send(client, {"verb": "hello", **hello})
            answer, _ = wire.receive(client, 0)
            assert "has no password" in answer["fault"]["message"]
    with socket.create_connection((address[1], int(address[2]))) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        client.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
    with RpcDevice("127.0.0.1", tracker, "board-with-a-password") as device:
        assert device.machine().cores >= 1


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    home = tmp_path_factory.mktemp("keys")
    for name in ("team", "other"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", home / name]
        subprocess.run(command, check=True)
    return home


@pytest.fixture(scope="module")
def strict(serve, keys):
    """The key of a board that starts what the team has signed."""
    serve("strict-board", "--allowed-signers", str(keys / "team.pub"))
    return "strict-board"


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")
def test_a_board_starts_what_its_own_keys_have_signed(tracker, strict, keys, checkable):
    path = checkable()
    device = RpcDevice("127.0.0.1", tracker, strict)
    sign(path, keys / "team")
    with device:
        assert check_example(path, device) == ("y",)
    assert bench.bench(path, trials=1, min_seconds=0.02, device=device).median_s > 0


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")
@pytest.mark.parametrize("signer", ["nobody", "other", "changed"])
def test_a_board_refuses_what_its_own_keys_have_not_signed(
    tracker, strict, keys, checkable, signer
):
    path = checkable()
    reason = "not signed"
    if signer == "other":
        sign(path, keys / "other")
        reason = "signed by somebody else; the board runs only what its team.pub has signed"
    elif signer == "changed":
        sign(path, keys / "team")
        path = checkable(wrong=True)
        reason = "changed after it was signed; the board runs only what its team.pub has signed"
    device = RpcDevice("127.0.0.1", tracker, strict)
    with device, pytest.raises(BundleError) as caught:
        check_example(path, device)
    assert caught.value.message == f"{path}: {reason}"


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")
def test_a_board_with_keys_starts_no_other_file(tracker, strict, keys, checkable):
    """Also from a client that does not care for signatures, and after a signed bundle."""
    path = checkable()
    sign(path, keys / "team")
    with RpcDevice("127.0.0.1", tracker, strict) as device:
        check_example(path, device)
        script = device.put(b"#!/bin/sh\ntouch was-here\n")
        with pytest.raises(BundleError, match="only executables of bundles that its team"):
            device.run([script], 5.0)


def test_a_server_that_others_can_reach_says_so():
    offer = board_server.offer_of("127.0.0.1:9190", "k")
    assert (offer.address, offer.warnings()) == ("127.0.0.1", ())
    (warning,) = board_server.offer_of("127.0.0.1:9190", "k", address="0.0.0.0").warnings()
    assert "runs any program here as this user" in warning
    for address in ("raspberrypi", "300.1.1.1", ""):
        with pytest.raises(ConfigError, match="address = "):
            board_server.offer_of("127.0.0.1:9190", "k", address=address)
    with pytest.raises(InputError):
        board_server.offer_of("127.0.0.1:9190", "k", signers=Path("/nowhere/keys"))


@pytest.mark.parametrize("keys", ["", "\n", "# nobody yet\n", "ssh-ed25519 cut", "me"])
def test_a_server_does_not_begin_with_a_file_that_lets_nobody_in(tmp_path, keys):
    signers = tmp_path / "team"
    signers.write_text(keys)
    with pytest.raises(InputError, match="team: holds no keys"):
        board_server.offer_of("127.0.0.1:9190", "k", signers=signers)


BROKEN_OFF = """
import os, signal, socket, sys, time
from pathlib import Path
from edgekiln.runtime.device import board_server, session, strays

strays.adopt()
signal.signal(signal.SIGALRM, board_server._end)
session._end_with_the_server = lambda: (os.kill(os.getppid(), signal.SIGALRM), time.sleep(60))
ours, _theirs = socket.socketpair()
client = session.ClientSession(ours, None)
client._home = Path(sys.argv[1])
try:
    client._execute(["/bin/sleep", "300"], 60.0)
except KeyboardInterrupt:
    print(strays._children())
"""


def test_a_signal_while_a_program_is_started_ends_that_program(tmp_path):
    """A start waits for the program's own preparations; here those end by the server's signal."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_OFF, str(tmp_path)],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
