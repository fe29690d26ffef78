"""`edgekiln schema`: what the JSON of every command looks like."""

import json

import click


@click.command()
@click.argument("name", required=False)
def schema(name: str | None) -> None:
    """List the JSON documents, or print the JSON Schema of one.

    NAME is what a document's own key "schema" says, e.g. edgekiln.build/1.
    """
    from edgekiln.compiler.cli.documents import DOCUMENTS
    from edgekiln.compiler.documents.json_schema import document_schema
    from edgekiln.runtime.errors import ConfigError
    from edgekiln.runtime.typed import did_you_mean

    # What a document is stands in the first line of its class.
    if name is None:
        width = max(map(len, DOCUMENTS)) + 2
        for each, cls in DOCUMENTS.items():
            click.echo(f"{each:{width}}{(cls.__doc__ or '').splitlines()[0]}")
        return
    if name not in DOCUMENTS:
        raise ConfigError(f"no document named {name!r}", did_you_mean(name, DOCUMENTS))
    click.echo(json.dumps(document_schema(name, DOCUMENTS[name]), indent=2, ensure_ascii=False))
