"""Every command block of the README is run as it is printed, by a shell.

Three things differ from a reader's machine, see `tests/readme.py`: commands that train or measure
get options that make them quick, `make` prints what it would do, and `pip` stays offline. The board
of the README is a real sshd on loopback.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.readme import PREPARED, ROOT, World, blocks, board
from tests.runtime.device import sshd

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = list(blocks(README))
BOARD = "Measure it where it will live"
SECTIONS = [name for name in dict.fromkeys(block.section for block in BLOCKS) if name != BOARD]


@pytest.fixture
def world(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """One store for all sections, also of other processes: they share their builds."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "popen-gw" in base.name else base
    return World(tmp_path / "work", shared / "readme-store")


@pytest.mark.parametrize("section", SECTIONS)
def test_commands_of_the_readme_do_what_it_says(section: str, world: World) -> None:
    if prepare := PREPARED.get(section):
        prepare(world)
    assert world.failure(block for block in BLOCKS if block.section == section) == ""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[sshd.Sshd]:
    if sshd.SSHD is None:
        pytest.skip("openssh-server is not installed")
    home = tmp_path / "sshd"
    home.mkdir()
    started = sshd.start(home)
    yield started
    started.stop()


def test_commands_for_other_devices_do_what_the_readme_says(
    world: World, server: sshd.Sshd
) -> None:
    names, here, there = (block for block in BLOCKS if block.section == BOARD)
    assert world.failure([names, here]) == ""
    board(world, server)
    assert world.failure([there]) == ""


def test_every_command_of_the_readme_is_in_a_block_that_is_run() -> None:
    assert len(SECTIONS) >= 4
    assert sum(block.text.count("edgekiln ") for block in BLOCKS if block.language == "shell") > 25


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_pins_of_the_vision_extra_are_those_the_readme_names() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for package in ("torch", "torchvision", "timm"):
        (pinned,) = re.findall(rf'"{package}==([\d.]+)"', pyproject)
        assert f"`{package}=={pinned}`" in README
