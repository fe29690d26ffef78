"""`edgekiln run`: a bundle's answer to inputs from files."""

from pathlib import Path

import click

from edgekiln.compiler.cli.devices import allowed_signers_option
from edgekiln.compiler.cli.options import point_option
from edgekiln.compiler.cli.output import json_option, print_json

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=FILE)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Read an input of the model from this .npy, .npz, .bin, .wav, .txt or image, once for "
    "each: in the model's order, or by name. One .npz may hold them all, by name.",
)
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="TEXT",
    help="Give this text to a program that takes text; again for more.",
)
@click.option(
    "--output",
    "outputs",
    type=FILE,
    multiple=True,
    metavar="FILE.npy",
    help="Write an output to this file; once for each.",
)
@point_option
@allowed_signers_option
@json_option
def run(
    *, bundle: Path, inputs: tuple[str, ...], texts: tuple[str, ...], outputs: tuple[Path, ...],
    point: str, allowed_signers: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run BUNDLE on this machine. Images are resized and preprocessed as the model needs it."""
    from edgekiln.runtime.documents import Answers, Output
    from edgekiln.runtime.file_runs import run_files
    from edgekiln.runtime.text import output_lines

    results = run_files(bundle, inputs, outputs, signers=allowed_signers, point=point, texts=texts)
    if as_json:
        listed = tuple(Output.of(spec, result) for spec, result in results)
        print_json("edgekiln.run/1", Answers(bundle=str(bundle), outputs=listed))
        return
    for spec, result in results:
        for line in output_lines(spec, result):
            click.echo(line)
