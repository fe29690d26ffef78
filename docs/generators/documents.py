"""The list of JSON documents, from the table that `edgekiln schema` prints."""

from edgekiln.compiler.cli.documents import DOCUMENTS

INTRODUCTION = """# JSON documents

Every command that prints a table prints the same as JSON with `--json`: one document on standard
output, whose key `schema` holds its name and version. A version is raised when a key is renamed,
removed, or changes its meaning; new keys may come without one, so ignore those you do not know.
`edgekiln schema NAME` prints the JSON Schema of one, and `edgekiln ci --schema` that of
`edgekiln.toml`.
"""


def page() -> str:
    """Markdown: a table of names and what each document says."""
    rows = [
        f"| `{name}` | {(document.__doc__ or '').splitlines()[0]} |"
        for name, document in DOCUMENTS.items()
    ]
    return "\n".join([INTRODUCTION, "| schema | |\n|---|---|", *rows]) + "\n"
