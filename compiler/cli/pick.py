"""`edgekiln pick`: one point of a front that was searched before."""

from pathlib import Path

import click

from edgekiln.compiler.cli.output import json_option, print_json


@click.command()
@click.argument("front", metavar="FRONT.json|DIR", type=click.Path(path_type=Path))
@click.option(
    "--where",
    multiple=True,
    metavar="LIMIT",
    help='Take only what is within this limit, such as "latency<5ms" or "accuracy>=90%"; again '
    "for more.",
)
@click.option(
    "--by",
    metavar="NAME",
    default="",
    help="Take the best by this objective (default: the first one).",
)
@json_option
def pick(*, front: Path, where: tuple[str, ...], by: str, as_json: bool) -> None:
    """Pick the best point within limits from a front; nothing is built or measured.

    \b
      edgekiln pick dist/resnet8-front --where "latency<20us" --by accuracy
    """
    from edgekiln.compiler.search.pick import PICK_SCHEMA, checked, picked
    from edgekiln.compiler.sweep.front_document import read_front

    result, document = read_front(front)
    found = checked(picked(result, document, where, by))
    if as_json:
        print_json(PICK_SCHEMA, found)
        return
    point = found.point
    values = ", ".join(each.told(point.values[each.name].value) for each in result.measures)
    click.echo(f"trial {point.trial}: {values}")
    for name, text in point.options.items():
        click.echo(f"  {name} {text}")
    for line in found.doubts:
        click.echo(f"note: {line}")
    click.echo(f"bundle: {found.bundle}")
    click.echo(f"recipe: {found.recipe}")
