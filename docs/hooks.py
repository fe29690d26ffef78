"""What MkDocs calls while it builds the site: pages that are made from the code join the others.

Nothing generated is committed, so nothing generated can be out of date. `mkdocs.yml` names the
pages in its navigation; a page that is missing there, or a link that leads nowhere, fails
`mkdocs build --strict`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from generators import command_line, documents, profiles, python_api, root_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

# Page of the site → what writes it.
GENERATED: Mapping[str, Callable[[], str]] = {
    "reference/cli.md": command_line.page,
    "reference/targets.md": profiles.page,
    "reference/python.md": python_api.page,
    "reference/documents.md": documents.page,
    **{page: root_pages.writer(ROOT, file) for page, file in root_pages.PAGES.items()},
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the generated pages before MkDocs reads any page."""
    for page, write in GENERATED.items():
        files.append(File.generated(config, page, content=write()))
    return files
