"""Microcontrollers' profiles: memories, a board that QEMU emulates, and the tools to build."""

import subprocess
from pathlib import Path

import pytest

from edgekiln.compiler.environment import toolchain
from edgekiln.runtime.device.qemu import EMULATORS
from edgekiln.runtime.errors import MissingToolError
from edgekiln.targets import isa, profile
from tests import emulated

MICROCONTROLLERS = [name for name in profile.names()[1:] if profile.load(name).memory]
PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"


def test_six_microcontrollers_ship() -> None:
    assert MICROCONTROLLERS == [
        "cortex-m0plus", "cortex-m33", "cortex-m4", "cortex-m55", "cortex-m7", "cortex-m85",
    ]  # fmt: skip


@pytest.mark.parametrize("name", MICROCONTROLLERS)
def test_every_microcontroller_has_an_emulated_board(name: str) -> None:
    target = profile.load(name)
    emulated.require(target)
    assert target.board is not None
    boards = subprocess.check_output([EMULATORS[target.machine], "-M", "help"], text=True)
    assert target.board.machine in boards
    assert isa.load(target.isa).activation == "int8"


def test_a_missing_emulator_stops_the_build_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = profile.load("cortex-m7")
    emulated.require(target)
    (tmp_path / target.toolchain.cc).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError) as error:
        toolchain.require(target)
    assert error.value.message == "target cortex-m7: qemu-system-arm is not installed"
    assert error.value.hint == f"sudo apt-get install -y {PACKAGES}"


def test_a_missing_c_library_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = profile.load("cortex-m7")
    compiler = tmp_path / target.toolchain.cc
    compiler.write_text("#!/bin/sh\necho 'fatal error: stdio.h: No such file' >&2\nexit 1\n")
    compiler.chmod(0o755)
    (tmp_path / "qemu-system-arm").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError) as error:
        toolchain.require(target)
    assert "libnewlib-arm-none-eabi" in error.value.hint
