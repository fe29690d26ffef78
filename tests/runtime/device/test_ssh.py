"""A board behind a real sshd, and everything that can go wrong on the way."""

import contextlib
import getpass
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from edgekiln.runtime import bench
from edgekiln.runtime.device import lease, ssh
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.shell_device import ShellDevice
from edgekiln.runtime.errors import (
    BundleError,
    DeviceError,
    EdgeKilnError,
    MismatchError,
    MissingToolError,
    StorageError,
)
from tests.runtime.device import sshd as server

pytestmark = pytest.mark.skipif(server.SSHD is None, reason="openssh-server is not installed")


@pytest.fixture
def home(tmp_path):
    """The directory on the board."""
    return tmp_path / "board's home"  # a space and a quote, as arguments must survive


@pytest.fixture
def open_board(sshd, home):
    def connect(**options):
        user = getpass.getuser()
        shell = ssh.SshShell(
            f"{user}@127.0.0.1", sshd.port, directory=str(home), config=str(sshd.config)
        )
        return ShellDevice(shell, **options)

    return connect


def left_on(home):
    """What a run leaves, besides the files it may keep by their content."""
    return sorted(path.name for path in home.iterdir() if len(path.name) != 64)


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_board_checks_and_measures(open_board, checkable, home):
    path = checkable()
    with open_board() as device:
        assert check_example(path, device) == ("y",)
        machine, state = device.machine(), device.state()
    assert machine.cores >= 1
    assert machine.architecture == os.uname().machine
    assert state.uptime_s > 0
    device = open_board()
    result = bench.bench(path, trials=2, min_seconds=0.05, device=device)
    assert result.device == device.name
    assert result.median_s > 0
    assert abs(time.time() - result.trials[-1].started_s) < 60
    assert result.energy_unavailable == "not asked for"
    assert left_on(home) == ["lock"]


def test_nothing_is_sent_twice(open_board, checkable):
    with open_board() as device:
        check_example(checkable(), device)
        first = device.sent_bytes
        check_example(checkable(), device)
        assert device.sent_bytes == first > 0
    with open_board() as device:
        check_example(checkable(), device)
        assert device.sent_bytes == 0


def test_a_damaged_file_on_the_board_is_sent_again(open_board, checkable, home):
    with open_board() as device:
        check_example(checkable(), device)
    for path in home.iterdir():
        path.write_bytes(b"rotten")
    with open_board() as device:
        assert check_example(checkable(), device) == ("y",)
        assert device.sent_bytes > 0


def test_without_keep_nothing_at_all_stays(open_board, checkable, home):
    with open_board(keep=False) as device:
        check_example(checkable(), device)
    wait_until(lambda: not home.exists())


def test_the_runners_own_errors_come_through(open_board, checkable):
    with open_board() as device, pytest.raises(MismatchError, match=r"example/output_0\.bin"):
        check_example(checkable(wrong=True), device)


def test_a_corrupt_bundle_never_reaches_the_board(open_board, checkable, home):
    path = checkable()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with open_board() as device, pytest.raises(BundleError):
        check_example(path, device)
    assert left_on(home) == ["lock"]


def test_a_wrong_architecture_is_refused_with_both_named(open_board, checkable):
    with open_board() as device, pytest.raises(BundleError) as caught:
        check_example(checkable(machine="riscv64", target="visionfive2"), device)
    here = os.uname().machine
    assert f"made for riscv64 (visionfive2), {device.name} is {here}" in caught.value.message
    assert caught.value.exit_code == 8


def test_missing_instructions_are_refused_before_anything_is_sent(open_board, checkable):
    with open_board() as device:
        with pytest.raises(BundleError, match=r"made for host, ssh://.* lacks avx9"):
            check_example(checkable(features=("avx9",)), device)
        assert device.sent_bytes == 0


def test_an_executable_of_another_processor_is_not_a_traceback(open_board, checkable):
    foreign = b"\x7fELF\x02\x01\x01" + b"\0" * 200
    with open_board() as device, pytest.raises(EdgeKilnError, match="the runner") as caught:
        check_example(checkable(runner=foreign), device)
    assert caught.value.exit_code in (8, 12)


def test_two_jobs_for_one_board_do_not_meet(open_board, checkable, home):
    with open_board() as first:
        with pytest.raises(DeviceError) as caught, open_board():
            pass
        assert check_example(checkable(), first) == ("y",)
    assert f"{first.name} is busy: {getpass.getuser()}@" in caught.value.message
    assert caught.value.exit_code == 13
    assert left_on(home) == ["lock"]
    with open_board() as second:
        assert check_example(checkable(), second) == ("y",)


def test_a_connection_cut_in_the_middle_is_made_again(open_board, checkable, sshd, home):
    path = checkable()
    device = open_board()

    def cut_while_running():
        wait_until((home / "running").exists, 60)
        sshd.cut()

    cut = threading.Thread(target=cut_while_running)
    cut.start()
    result = bench.bench(path, trials=2, min_seconds=2.0, device=device)
    cut.join()
    assert len(result.trials) == 2
    assert left_on(home) == ["lock"]


def test_a_board_that_reboots_in_the_middle_is_taken_again(open_board, checkable, sshd, home):
    """Its programs are gone, its files are not; the trial is done anew."""

    def reboot_while_running():
        wait_until((home / "running").exists, 60)
        pid = int((home / "running").read_text())
        sshd.reboot(1.0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    reboot = threading.Thread(target=reboot_while_running)
    reboot.start()
    result = bench.bench(checkable(), trials=1, min_seconds=2.0, device=open_board())
    reboot.join()
    assert len(result.trials) == 1
    assert left_on(home) == ["lock"]


def test_a_board_that_is_gone_is_named(checkable, monkeypatch, tmp_path, home):
    monkeypatch.setattr(lease, "PAUSE_S", 0.01)
    own = server.start(tmp_path)
    shell = ssh.SshShell(
        f"{getpass.getuser()}@127.0.0.1", own.port,
        directory=str(home), config=str(own.config),
    )  # fmt: skip
    with ShellDevice(shell) as device:
        own.stop()
        with pytest.raises(DeviceError) as caught:
            check_example(checkable(), device)
    assert caught.value.message.startswith(f"{own.url}: connection lost: ")
    assert "Connection refused" in caught.value.message
    assert "tried 3 times" in caught.value.hint
    wait_until(lambda: left_on(home) == ["lock"])


def test_a_killed_client_leaves_no_process_and_no_file(sshd, checkable, home):
    """The board notices by itself that nobody is there any more."""
    program = (
        "import sys; from pathlib import Path\n"
        "from edgekiln.runtime import bench\n"
        "from edgekiln.runtime.device import shell_device, ssh\n"
        "host, port, home, config, bundle = sys.argv[1:]\n"
        "shell = ssh.SshShell(host, int(port), directory=home, config=config)\n"
        "device = shell_device.ShellDevice(shell)\n"
        "bench.bench(Path(bundle), trials=1, min_seconds=60.0, device=device)\n"
    )
    user = f"{getpass.getuser()}@127.0.0.1"
    arguments = [user, str(sshd.port), str(home), str(sshd.config), str(checkable())]
    client = subprocess.Popen([sys.executable, "-c", program, *arguments])
    wait_until((home / "running").exists, 60)
    pid = int((home / "running").read_text())
    client.kill()
    client.wait()
    sshd.cut()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    wait_until(lambda: left_on(home) == ["lock"])


def test_a_refused_entrance_leaves_nothing_here(open_board, home, monkeypatch):
    home.write_text("not a directory")
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        monkeypatch.setattr(ssh, "SOCKETS", sockets)
        with pytest.raises(DeviceError), open_board():
            pass
        assert list(Path(sockets).iterdir()) == []


def test_a_wrong_host_key_is_refused(sshd, home, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "PAUSE_S", 0.01)
    config = tmp_path / "ssh_config"
    known = tmp_path / "known"
    known.write_text("")
    text = sshd.config.read_text().replace("/known\n", f"/known\nUserKnownHostsFile {known}\n")
    config.write_text(f"UserKnownHostsFile {known}\n{text}")
    shell = ssh.SshShell("127.0.0.1", sshd.port, directory=str(home), config=str(config))
    with pytest.raises(DeviceError, match="Host key verification failed"), ShellDevice(shell):
        pass
    assert not home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_full_disk_on_the_board_is_named_and_left_clean(open_board, checkable, home):
    home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(home)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with pytest.raises(StorageError) as caught, open_board() as device:
            check_example(checkable(), device)
        assert caught.value.message == f"{device.name}: no space left for {home}"
        assert caught.value.exit_code == 9
        assert left_on(home) == ["lock"]
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_directory_that_cannot_be_is_named(open_board, home):
    home.write_text("a file")
    with pytest.raises(DeviceError, match=r"cannot use .*board's home: mkdir: "), open_board():
        pass


def test_without_a_client_the_package_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingToolError, match="ssh is not installed") as caught:
        ssh.SshShell("pi@board")
    assert caught.value.hint == "sudo apt-get install -y openssh-client"
