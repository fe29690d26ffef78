"""Users without a home directory or a name, as in containers and services."""

import os
import pwd
from pathlib import Path
from typing import Any, NoReturn

import pytest

from edgekiln.compiler.pipeline.atomic_io import default_root
from edgekiln.models import data
from edgekiln.runtime.device.address import named
from edgekiln.runtime.device.board_server import offer_of
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.home import expanded, user_name


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user of whom the system knows nothing."""

    def unknown(*_: Any) -> NoReturn:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CACHE_HOME",
                 "XDG_CONFIG_HOME", "EDGEKILN_STORE", "EDGEKILN_DEVICES"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nobody")
def test_without_a_home_directory_the_store_asks_for_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="no home directory") as caught:
        default_root()
    assert caught.value.hint == "set HOME, or EDGEKILN_STORE"
    monkeypatch.setenv("EDGEKILN_STORE", "~/store")
    with pytest.raises(ConfigError, match="~/store: there is no such home directory"):
        default_root()
    monkeypatch.setenv("EDGEKILN_STORE", "/srv/store")
    assert default_root() == Path("/srv/store")


@pytest.mark.usefixtures("nobody")
def test_without_a_home_directory_there_are_no_devices_and_no_board() -> None:
    assert named() == {}
    assert user_name() == str(os.getuid())
    with pytest.raises(ConfigError, match="no home directory"):
        offer_of("127.0.0.1:9190", "k")


def test_the_home_of_nobody_is_no_data() -> None:
    with pytest.raises(ConfigError, match="~nobodyx/y: there is no such home directory"):
        data.load("~nobodyx/y", 0)
    assert expanded("a/~b") == Path("a/~b")
