"""`edgekiln run`: a bundle's answer to inputs from files."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekiln.compiler.cli.output import json_option, print_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekiln.compiler.cli.documents import Output
    from edgekiln.runtime.manifest import TensorSpec

FILE = click.Path(path_type=Path)
TOP = 5  # classes shown a sample
SHOWN = 10  # samples shown


@click.command()
@click.argument("bundle", type=FILE)
@click.option(
    "--input",
    "inputs",
    type=FILE,
    multiple=True,
    required=True,
    metavar="FILE",
    help="One for each input of the model: .npy, .npz, .bin or an image.",
)
@click.option(
    "--output",
    "outputs",
    type=FILE,
    multiple=True,
    metavar="FILE.npy",
    help="Where to write the outputs, one for each.",
)
@json_option
def run(
    *, bundle: Path, inputs: tuple[Path, ...], outputs: tuple[Path, ...], as_json: bool
) -> None:
    """Run BUNDLE on this machine. Images are resized and preprocessed as the model needs it."""
    from edgekiln.runtime.errors import ConfigError
    from edgekiln.runtime.inputs import load_input
    from edgekiln.runtime.program import run_batched
    from edgekiln.runtime.runner import AotRunner

    runner = AotRunner.open(bundle)
    if len(inputs) != len(runner.inputs):
        names = ", ".join(spec.name for spec in runner.inputs)
        raise ConfigError(
            f"{len(inputs)} inputs are given, {bundle.name} takes {len(runner.inputs)}: {names}",
            "give --input once for each",
        )
    if outputs and len(outputs) != len(runner.outputs):
        raise ConfigError(
            f"{len(outputs)} outputs are given, {bundle.name} has {len(runner.outputs)}",
            "give --output once for each, or not at all",
        )
    arrays = [load_input(path, spec) for path, spec in zip(inputs, runner.inputs, strict=True)]
    counts = {len(array) for array in arrays}
    if len(counts) != 1:
        raise ConfigError(f"the inputs hold {sorted(counts)} samples: they must be as many each")
    results = run_batched(runner, arrays)
    for path, result in zip(outputs, results, strict=False):
        save(path, result)
    if as_json:
        from edgekiln.compiler.cli.documents import Answers

        listed = (described(*pair) for pair in zip(runner.outputs, results, strict=True))
        print_json("edgekiln.run/1", Answers(bundle=str(bundle), outputs=tuple(listed)))
        return
    for spec, result in zip(runner.outputs, results, strict=True):
        for line in lines(spec, result):
            click.echo(line)


def described(spec: "TensorSpec", result: "NDArray[np.generic]") -> "Output":
    from edgekiln.compiler.cli.documents import Output

    best = result.reshape(len(result), -1).argmax(axis=1) if spec.labels else ()
    return Output(
        name=spec.name,
        shape=result.shape,
        dtype=str(result.dtype),
        values=result.tolist(),
        answers=tuple(spec.labels[index] for index in best),
    )


def lines(spec: "TensorSpec", result: "NDArray[np.generic]") -> Iterable[str]:
    """A line a sample: the best classes of a classifier, the first numbers of anything else."""
    yield f"{spec.name}: {result.dtype} {'×'.join(str(extent) for extent in result.shape)}"
    flat = result.reshape(len(result), -1)
    for index, row in enumerate(flat[:SHOWN]):
        if spec.labels:
            best = row.argsort()[::-1][:TOP]
            cells = [f"{spec.labels[i]} {row[i]:.3f}" for i in best]
        else:
            cells = [f"{value:.4g}" for value in row[:SHOWN]]
            cells += ["…"] if len(row) > SHOWN else []
        yield f"  {index}: {'  '.join(cells)}"
    if len(flat) > SHOWN:
        yield f"  and {len(flat) - SHOWN} more samples (--output or --json gives all)"


def save(path: Path, array: "NDArray[np.generic]") -> None:
    """Write a .npy file, whole or not at all. Raises StorageError."""
    import tempfile

    import numpy as np

    from edgekiln.compiler.disk import copy_out

    with tempfile.NamedTemporaryFile(suffix=".npy") as aside:
        np.save(aside, array)
        aside.flush()
        copy_out(Path(aside.name), path)
