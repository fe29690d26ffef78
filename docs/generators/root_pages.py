"""Files at the repository's root that are pages of the site, too: their links are made to fit."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

# Page of the site → file at the root.
PAGES: Mapping[str, str] = {
    "architecture.md": "ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}
LINK = re.compile(r"(?<!\!)\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)")


def writer(root: Path, file: str) -> Callable[[], str]:
    """What gives the content of `file` as a page: for the table of generated pages."""
    return lambda: fitted((root / file).read_text(encoding="utf-8"))


def fitted(text: str) -> str:
    """Relative links lead to pages of the site; those to other files become their paths, as code.

    Code blocks hold no links, so that they pass unchanged.
    """
    return LINK.sub(_link, text)


def _link(match: re.Match[str]) -> str:
    words, path, anchor = match[1], match[2], match[3] or ""
    pages = {file: page for page, file in PAGES.items()}
    if path in pages:
        return f"[{words}]({pages[path]}{anchor})"
    if path.startswith("docs/"):
        return f"[{words}]({path.removeprefix('docs/')}{anchor})"
    return f"{words} (`{path}`)"
