"""Addresses of devices, and their names in devices.toml."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from edgekiln.runtime.device.device import LOCAL, Device
from edgekiln.runtime.device.farm_job import MAX_PRIORITY
from edgekiln.runtime.device.shell import Shell
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.home import home
from edgekiln.runtime.typed import did_you_mean, from_table, read_toml

FILE = "devices.toml"
_RPC = "rpc://"
MAX_TIMEOUT_S = 86_400.0
MAX_BOARDS = 100_000


@dataclass(frozen=True, kw_only=True)
class DeviceEntry:
    """One table of devices.toml: an address, and what is special about the device."""

    url: str
    dir: str = ""  # on a board reached by ssh or adb; "" is the default of the two
    keep: bool = True  # whether sent files stay there for the next run
    timeout_s: float = 30.0  # for everything but the program itself
    priority: int = 1  # in a tracker's queue; higher goes first
    boards: int = 0  # how many of a key a tracker should have; `devices status` says which lack
    ssh_config: str = ""  # instead of ~/.ssh/config
    # A public key, or a file of allowed signers: what they have not signed does not run there.
    require_signature: str = ""

    def __post_init__(self) -> None:
        """Raises ConfigError for what no device has, so that later code need not look again."""
        for key, text in (
            ("url", self.url), ("dir", self.dir), ("ssh-config", self.ssh_config),
            ("require-signature", self.require_signature),
        ):  # fmt: skip
            if not text.isprintable():
                raise ConfigError(
                    f"{key} = {text!r}", "write it without line breaks and other control characters"
                )
        if not 0 < self.timeout_s <= MAX_TIMEOUT_S:
            raise ConfigError(
                f"timeout-s = {self.timeout_s:g}",
                f"30 is a good time; more than 0, at most {MAX_TIMEOUT_S:g}",
            )
        if abs(self.priority) > MAX_PRIORITY:
            raise ConfigError("priority is out of range", f"at most {MAX_PRIORITY}, either way")
        if not 0 <= self.boards <= MAX_BOARDS:
            raise ConfigError(f"boards = {self.boards}", f"give their number, at most {MAX_BOARDS}")


def find_file() -> Path | None:
    """$EDGEKILN_DEVICES, ./devices.toml, or the user's own; None where there is none.

    Raises ConfigError: a folder may not be searched, in which there may be demands.
    """
    if given := os.environ.get("EDGEKILN_DEVICES"):
        return Path(given)
    paths = [Path(FILE)]
    with contextlib.suppress(ConfigError):  # who has no home directory has no devices there
        config = os.environ.get("XDG_CONFIG_HOME") or home("XDG_CONFIG_HOME") / ".config"
        paths.append(Path(config) / "edgekiln" / FILE)
    for path in paths:
        try:
            if path.is_file():
                return path
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror}", "set HOME or XDG_CONFIG_HOME to a folder of yours"
            ) from error
    return None


def named() -> dict[str, DeviceEntry]:
    """The devices of devices.toml. Raises ConfigError when it cannot be read."""
    path = find_file()
    if path is None:
        return {}
    try:
        tables = read_toml(path, 'tables such as [pi5] with url = "ssh://…"')
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", "EDGEKILN_DEVICES names it") from None
    return {name: _entry(table, f"{path}: [{name}]", path.parent) for name, table in tables.items()}


def find(spec: str) -> DeviceEntry:
    """The entry of a name, or one made of an address.

    Raises:
        ConfigError: neither a name of devices.toml nor an address.
    """
    if _form(spec):
        return DeviceEntry(url=spec)
    known = named()
    if spec not in known:
        is_name = known and ":" not in spec
        hint = did_you_mean(spec, known) if is_name else f"addresses are {FORMS}"
        raise ConfigError(f"no device named {spec!r}", hint)
    return known[spec]


def open_device(entry: DeviceEntry) -> Device:
    """Not yet held: that is entering it. Raises ConfigError, MissingToolError."""
    form = _form(entry.url)
    if form is None:
        raise ConfigError(f"{entry.url!r} is no address", hint=f"addresses are {FORMS}")
    device = form.open(entry)
    if entry.require_signature:
        device.signers = Path(entry.require_signature)
    return device


def with_cpu(entry: DeviceEntry, cpu: str) -> DeviceEntry:
    """`qemu` alone emulates this CPU; every other address names its device already."""
    return replace(entry, url=f"qemu:{cpu}") if entry.url in ("qemu", "qemu:") else entry


def _open_local(_entry: DeviceEntry) -> Device:
    from edgekiln.runtime.device.local import LocalDevice

    return LocalDevice()


def _open_qemu(entry: DeviceEntry) -> Device:
    from edgekiln.runtime.device.qemu import ANY_CPU, QemuDevice

    return QemuDevice(_behind_colon(entry) or ANY_CPU)


def _open_ssh(entry: DeviceEntry) -> Device:
    from edgekiln.runtime.device.ssh import SshShell

    host, port = _host_and_port(entry.url)
    user = urlsplit(entry.url).username
    full = f"{user}@{host}" if user else host
    return _by_shell(SshShell(full, port, directory=entry.dir, config=entry.ssh_config), entry)


def _open_adb(entry: DeviceEntry) -> Device:
    from edgekiln.runtime.device.adb import AdbShell

    return _by_shell(AdbShell(_behind_colon(entry), directory=entry.dir), entry)


def boards_of_trackers() -> dict[tuple[str, int], dict[str, int]]:
    """The trackers that devices.toml names: of each, the keys and how many boards these have, 0
    where it does not say. Raises ConfigError.
    """
    found: dict[tuple[str, int], dict[str, int]] = {}
    for entry in named().values():
        if entry.url.startswith(_RPC):
            host, port, key = _rpc_place(entry)
            keys = found.setdefault((host, port), {})
            keys[key] = max(entry.boards, keys.get(key, 0))
    return found


def _open_rpc(entry: DeviceEntry) -> Device:
    from edgekiln.runtime.device.rpc import RpcDevice

    host, port, key = _rpc_place(entry)
    return RpcDevice(host, port, key, priority=entry.priority, timeout_s=entry.timeout_s)


def _rpc_place(entry: DeviceEntry) -> tuple[str, int, str]:
    """A tracker's host and port, and the key of its boards."""
    host, port = _host_and_port(entry.url)
    key = urlsplit(entry.url).path.strip("/")
    if port is None or not key:
        raise ConfigError(f"{entry.url}: no port or no key", hint=f"addresses are {FORMS}")
    return host, port, key


def _by_shell(shell: Shell, entry: DeviceEntry) -> Device:
    from edgekiln.runtime.device.shell_device import ShellDevice

    return ShellDevice(shell, timeout_s=entry.timeout_s, keep=entry.keep)


def _behind_colon(entry: DeviceEntry) -> str:
    return entry.url.partition(":")[2]


def _host_and_port(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{url}: {error}", hint=f"addresses are {FORMS}") from error
    if not host or host.startswith("-"):
        raise ConfigError(f"{url}: no host", hint=f"addresses are {FORMS}")
    return host, port


def _entry(table: object, where: str, home: Path) -> DeviceEntry:
    """A key's file is named relative to `home`, the directory of devices.toml."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is not a table", 'e.g. [pi5] with url = "ssh://pi@10.0.0.7"')
    try:
        entry = from_table(DeviceEntry, table, where)
    except ConfigError as error:
        if error.message.startswith(where):
            raise
        raise ConfigError(f"{where}: {error.message}", error.hint) from error
    if not _form(entry.url):
        raise ConfigError(f"{where}: url = {entry.url!r}", hint=f"addresses are {FORMS}")
    key = entry.require_signature
    if not key and "require-signature" in table:  # what was meant as a demand must not be none
        raise ConfigError(
            f"{where}: require-signature = ''", "name a file of keys, or leave it out"
        )
    return replace(entry, require_signature=str(home / key)) if key else entry


@dataclass(frozen=True, kw_only=True)
class _Form:
    """One form of address: how people write it, how it is known, and what opens it."""

    text: str
    open: Callable[[DeviceEntry], Device]  # not yet held
    whole: tuple[str, ...] = ()  # the addresses that have nothing behind them
    begins: tuple[str, ...] = ()  # what the others begin with


_FORMS = (
    _Form(text="local", open=_open_local, whole=(LOCAL,)),
    _Form(text="qemu[:CPU]", open=_open_qemu, whole=("qemu",), begins=("qemu:",)),
    _Form(text="ssh://USER@HOST[:PORT]", open=_open_ssh, begins=("ssh://",)),
    _Form(text="adb:[SERIAL]", open=_open_adb, begins=("adb:",)),
    _Form(text="rpc://TRACKER:PORT/KEY", open=_open_rpc, begins=(_RPC,)),
)
FORMS = ", ".join(form.text for form in _FORMS)  # for people


def _form(spec: str) -> _Form | None:
    """The form of an address; None for a name."""
    fitting = (form for form in _FORMS if spec in form.whole or spec.startswith(form.begins))
    return next(fitting, None)
