"""Addresses, and the names that devices.toml gives them."""

import pytest

from edgekiln.runtime.device import address
from edgekiln.runtime.device.address import DeviceEntry, find, named, open_device
from edgekiln.runtime.device.shell_device import ShellDevice
from edgekiln.runtime.errors import ConfigError

TABLE = """
[pi5]
url = "ssh://pi@10.0.0.7:2222"
dir = "/var/tmp/edgekiln"
timeout-s = 60.0

[farm]
url = "rpc://tracker:9190/rpi5"
priority = 3
"""


@pytest.fixture
def devices_toml(tmp_path, monkeypatch):
    path = tmp_path / "devices.toml"
    monkeypatch.setenv("EDGEKILN_DEVICES", str(path))
    path.write_text(TABLE)
    return path


@pytest.mark.usefixtures("devices_toml")
def test_names_come_from_devices_toml():
    assert list(named()) == ["pi5", "farm"]
    assert find("pi5") == DeviceEntry(
        url="ssh://pi@10.0.0.7:2222", dir="/var/tmp/edgekiln", timeout_s=60.0
    )


def test_addresses_need_no_file(monkeypatch):
    monkeypatch.setenv("EDGEKILN_DEVICES", "/nowhere/devices.toml")
    assert find("ssh://pi@board").url == "ssh://pi@board"


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("local", "local"),
        ("qemu", "qemu:max"),
        ("qemu:cortex-a72", "qemu:cortex-a72"),
        ("ssh://pi@board", "ssh://pi@board"),
        ("ssh://board:2222", "ssh://board:2222"),
        ("rpc://tracker:9190/rpi5", "rpc://tracker:9190/rpi5"),
    ],
)
def test_every_form_opens_its_device(spec, name):
    assert open_device(find(spec)).name == name


@pytest.mark.usefixtures("devices_toml")
def test_a_named_board_gets_its_options():
    board = open_device(find("pi5"))
    assert isinstance(board, ShellDevice)
    command = board._shell.command("true", ("x",))
    board._shell.close()
    assert command[-3:-1] == ["--", "pi@10.0.0.7"]
    assert command[command.index("-p") + 1] == "2222"
    assert vars(open_device(find("farm")))["_priority"] == 3


@pytest.mark.usefixtures("devices_toml")
def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="no device named 'pi4'") as caught:
        find("pi4")
    assert caught.value.hint == "did you mean pi5?"


@pytest.mark.usefixtures("devices_toml")
def test_a_misspelt_address_is_told_the_forms_and_no_name():
    with pytest.raises(ConfigError, match="no device named 'shh://pi@board'") as caught:
        find("shh://pi@board")
    assert caught.value.hint == f"addresses are {address.FORMS}"


def test_without_a_file_the_forms_of_addresses_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEKILN_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        find("pi5")
    assert caught.value.hint == f"addresses are {address.FORMS}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pi5]\nurl = 3", "[pi5]: url must be a string, found 3"),
        ("[pi5]\nulr = 'x'", "[pi5]: unknown key 'ulr'"),
        ("[pi5]", "[pi5]: url is missing"),
        ("pi5 = 3", "[pi5] is not a table"),
        ("[pi5", "Expected ']'"),
        ("[pi5]\nurl = 'local'\nrequire-signature = ''", "[pi5]: require-signature = ''"),
        ("[pi5]\nurl = ''", "[pi5]: url = ''"),
        ("[pi5]\nurl = 'http://pi'", "[pi5]: url = 'http://pi'"),
        ("[pi5]\nurl = 'local'\ntimeout-s = 0", "timeout-s = 0"),
        ("[pi5]\nurl = 'local'\ntimeout-s = -1", "timeout-s = -1"),
        ("[pi5]\nurl = 'local'\ntimeout-s = 1e300", "timeout-s = 1e+300"),
        ("[pi5]\nurl = 'local'\npriority = 9000000000", "priority is out of range"),
        (f"[pi5]\nurl = 'local'\npriority = {'9' * 30}", "a whole number that 64 bits hold"),
        ('[pi5]\nurl = "ssh://a\\u0000b"', "url = 'ssh://a\\x00b'"),
        ('[pi5]\nurl = "local"\ndir = "a\\nb"', "dir = 'a\\nb'"),
    ],
)
def test_a_wrong_file_is_named_with_the_key(devices_toml, text, message):
    devices_toml.write_text(text)
    with pytest.raises(ConfigError) as caught:
        named()
    assert caught.value.message.startswith(str(devices_toml))
    assert message in caught.value.message


@pytest.mark.parametrize(
    "url",
    ["ssh://", "ssh://-oProxyCommand=x", "ssh://board:port", "rpc://tracker/key", "rpc://t:1"],
)
def test_a_wrong_address_is_refused(url):
    with pytest.raises(ConfigError):
        open_device(find(url))


def test_the_profiles_cpu_is_only_for_qemu_alone():
    assert address.with_cpu(find("qemu"), "cortex-a76").url == "qemu:cortex-a76"
    assert address.with_cpu(find("qemu:max"), "cortex-a76").url == "qemu:max"
    assert address.with_cpu(find("ssh://board"), "cortex-a76").url == "ssh://board"
