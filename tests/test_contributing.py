"""CONTRIBUTING.md names files and what stands in them: they are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")
FILE = re.compile(r"(?!.*NAME)[a-z]\w*(?:/[\w.-]*)+|[\w-]+\.(?:py|md)")
# "`SUMMARIES` of `compiler/…py`", and "`compiler/…py` (`_FURTHER`)" or "…: `Tunable`".
NAMED = (
    re.compile(r"`(?P<name>\w+)`(?: there)?\s+of\s+`(?P<file>[\w/]+\.py)`"),
    re.compile(r"`(?P<file>[\w/]+\.py)`(?: \(|: )`(?P<name>\w+)`"),
)


def files() -> set[str]:
    """Paths in the guide, without those of files that its reader makes."""
    return {text for text in CODE.findall(GUIDE) if FILE.fullmatch(text)}


def found(path: str) -> list[Path]:
    """Where a path may lead: from the root, or, of a name alone, beside a file just named."""
    return [ROOT / path, *([] if "/" in path else ROOT.glob(f"[a-z]*/**/{path}"))]


@pytest.mark.parametrize("path", sorted(files()))
def test_every_file_of_the_guide_is_there(path: str) -> None:
    assert any(place.exists() for place in found(path))


def test_what_the_guide_says_of_a_file_stands_in_it() -> None:
    named = {(m["name"], m["file"]) for pattern in NAMED for m in pattern.finditer(GUIDE)}
    assert len(named) > 15
    missing = [
        (name, path)
        for name, path in sorted(named)
        if not re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert missing == []


def test_the_guide_names_files() -> None:
    assert len(files()) > 60
