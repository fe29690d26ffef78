"""Android's real client, and a phone that only speaks its protocol."""

import shutil
import socket
import subprocess
import threading

import pytest

from edgekiln.runtime import bench
from edgekiln.runtime.device import lease
from edgekiln.runtime.device.adb import AdbShell
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.shell_device import ShellDevice
from edgekiln.runtime.errors import DeviceError, MismatchError, MissingToolError
from tests.runtime.device import adbd

ADB = shutil.which("adb")
with_adb = pytest.mark.skipif(ADB is None, reason="adb is not installed")


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    """Connected to a server of the client's that is ours alone."""
    with pytest.MonkeyPatch.context() as patch, adbd.phone() as running:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # of the client's keys
        subprocess.run([ADB, "connect", f"127.0.0.1:{running.port}"], check=True)
        yield running
        subprocess.run([ADB, "kill-server"], check=True)


@pytest.fixture
def open_phone(phone, tmp_path):
    home = tmp_path / "phone's storage"  # a space and a quote, as arguments must survive
    return lambda: ShellDevice(AdbShell(f"127.0.0.1:{phone.port}", directory=str(home)))


@with_adb
def test_a_phone_checks_and_measures(open_phone, checkable, tmp_path):
    path = checkable()
    with open_phone() as device:
        assert check_example(path, device) == ("y",)
        first = device.sent_bytes
    assert first > 0
    device = open_phone()
    result = bench.bench(path, trials=1, min_seconds=0.05, device=device)
    assert result.device == device.name
    assert result.median_s > 0
    assert device.sent_bytes == 0
    left = [path.name for path in (tmp_path / "phone's storage").iterdir() if len(path.name) != 64]
    assert left == ["lock"]


@with_adb
def test_the_runners_own_errors_come_through(open_phone, checkable):
    with open_phone() as device, pytest.raises(MismatchError, match=r"example/output_0\.bin"):
        check_example(checkable(wrong=True), device)


@with_adb
def test_a_large_file_arrives_whole(open_phone, tmp_path):
    """Larger than the protocol's messages, and of every byte."""
    content = bytes(range(256)) * 8192
    with open_phone() as device:
        place = device.put(content)
    assert (tmp_path / place).read_bytes() == content


@with_adb
def test_a_cable_pulled_in_the_middle_is_noticed_and_the_run_goes_on(open_phone, phone, checkable):
    """The client's server connects again by itself."""
    device = open_phone()
    cut = threading.Timer(1.0, phone.cut)
    cut.start()
    result = bench.bench(checkable(), trials=1, min_seconds=2.0, device=device)
    cut.join()
    assert len(phone.connections) == 1
    assert result.median_s > 0


@with_adb
@pytest.mark.usefixtures("phone")
def test_the_clients_own_words_are_given(monkeypatch):
    monkeypatch.setattr(lease, "PAUSE_S", 0.01)
    with pytest.raises(DeviceError) as caught, ShellDevice(AdbShell("R58M")):
        pass
    assert caught.value.message == "adb:R58M: connection lost: error: device 'R58M' not found"
    assert caught.value.exit_code == 13


def test_a_programs_error_is_not_taken_for_the_clients():
    shell = AdbShell.__new__(AdbShell)
    assert shell.outcome(8, "error: made for rpi5, this CPU lacks asimddp\n") == 8
    with pytest.raises(ConnectionLost, match="error: device offline"):
        shell.outcome(1, "error: device offline\n")


def test_without_a_client_the_package_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingToolError, match="adb is not installed") as caught:
        AdbShell()
    assert caught.value.hint == "sudo apt-get install -y adb"
