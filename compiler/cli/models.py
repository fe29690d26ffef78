"""`edgekiln models`: the zoo."""

import click

from edgekiln.compiler.cli.output import columns, json_option, print_json


@click.group()
def models() -> None:
    """Show the models that come with EdgeKiln."""


@models.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the zoo: each model's input, default data, recipe and source."""
    from edgekiln.models.zoo import ENTRIES

    if as_json:
        from edgekiln.compiler.cli.documents import Models

        print_json("edgekiln.models/1", Models(models=tuple(ENTRIES.values())))
        return
    rows = [("NAME", "INPUT", "DATA", "DESCRIPTION", "SOURCE")]
    for entry in ENTRIES.values():
        shape = "×".join(str(extent) for extent in entry.input_shape)
        rows.append((entry.name, shape, entry.data, entry.description, entry.source))
    columns(rows)
    click.echo("\nAny other model: package.module:factory, a float .onnx or a QDQ int8 .onnx")
