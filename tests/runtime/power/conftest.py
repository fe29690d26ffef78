"""A tree of sysfs."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Write = Callable[..., Path]


@pytest.fixture
def root() -> Iterator[Path]:
    """Not below tmp_path: pytest closes that to other users."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-sysfs-") as home:
        Path(home).chmod(0o755)
        yield Path(home)


@pytest.fixture
def sysfs(root: Path) -> Write:
    """Write files below a directory of the tree: sysfs("sys/class/…", name="…")."""

    def write(directory: str, **files: object) -> Path:
        home = root / directory
        home.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (home / name).write_text(f"{content}\n")
        return home

    return write


@pytest.fixture
def package(sysfs: Write) -> Callable[..., Path]:
    """A CPU package as powercap shows it."""

    def write(number: int, energy_uj: int, range_uj: int = 1_000_000, name: str = "") -> Path:
        return sysfs(
            f"sys/class/powercap/intel-rapl:{number}",
            name=name or f"package-{number}",
            energy_uj=energy_uj,
            max_energy_range_uj=range_uj,
        )

    return write
