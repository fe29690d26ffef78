"""Fixtures every room uses."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from edgekiln.runtime import host

ROOT = Path(__file__).resolve().parent.parent

MANY = "many"  # the profile in which tests that are content with few examples take more
settings.register_profile(MANY)

# Graphs are checked after each pass, in processes that tests start, too.
os.environ.setdefault("EDGEKILN_CHECK_IR", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The project's own data sets, which users do not have."""
    home = Path(os.environ.get("EDGEKILN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not home.is_dir():
        pytest.skip(f"no shared data sets at {home} (set EDGEKILN_SHARED_DATA)")
    return home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begin: at the end all other processes would wait for them."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("isa"):
        if missing := set(mark.args) - host.cpu_flags():
            pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
