"""Source files are parsed once, in whatever process, and what is kept of them is never stale."""

from pathlib import Path

import pytest

from edgekiln.compiler.pipeline import parsed_before as module
from edgekiln.compiler.pipeline import source_file
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.compiler.pipeline.parsed_before import parsed_before
from edgekiln.compiler.pipeline.source_file import Parsed, parse

SOURCE = b"import edgekiln.targets.files\nx = 1\n"


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(root=tmp_path)


def refuse(source: bytes) -> Parsed:
    raise AssertionError(f"{source!r} was to be parsed once")


def test_a_file_of_the_same_content_is_parsed_once(
    cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with parsed_before(cache) as recall:
        first = recall(SOURCE)
    monkeypatch.setattr(module, "parse", refuse)
    with parsed_before(cache) as recall:
        assert recall(SOURCE) == first == parse(SOURCE)
        with pytest.raises(AssertionError, match="parsed once"):
            recall(SOURCE + b"y = 2\n")


def test_another_parser_believes_nothing_of_it(
    cache: ObjectCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with parsed_before(cache) as recall:
        recall(SOURCE)
    other = tmp_path / "source_file.py"
    other.write_text("# another\n")
    monkeypatch.setattr(source_file, "__file__", str(other))
    monkeypatch.setattr(module, "parse", refuse)
    with parsed_before(cache) as recall, pytest.raises(AssertionError, match="parsed once"):
        recall(SOURCE)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": {}}', b'{"a": 1}', b"\xff"])
def test_a_damaged_memory_is_none(cache: ObjectCache, content: bytes) -> None:
    with parsed_before(cache) as recall:
        recall(SOURCE)
    (kept,) = (path for path in Path(str(cache.root)).iterdir() if path.is_file())
    cache.put(kept.name, content)
    with parsed_before(cache) as recall:
        assert recall(SOURCE) == parse(SOURCE)
    kept.write_bytes(content)  # not even written by a cache
    with parsed_before(cache) as recall:
        assert recall(SOURCE) == parse(SOURCE)


def test_a_store_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with parsed_before(ObjectCache(root=file / "compiled")) as recall:
        assert recall(SOURCE) == parse(SOURCE)
