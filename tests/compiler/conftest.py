"""A store of one's own, an input in it, and a log of what ran."""

from pathlib import Path

import pytest

from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def src(store: Store, tmp_path: Path) -> Artifact:
    (tmp_path / "in.txt").write_text("abc")
    return store.ingest(tmp_path / "in.txt", "module")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path
