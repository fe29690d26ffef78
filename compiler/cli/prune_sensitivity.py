"""`edgekiln prune-sensitivity`: what pruning each part of a module would cost."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

import click

from edgekiln.compiler.cli.options import SEED, FiniteRange, allow_factory_option
from edgekiln.compiler.cli.output import columns, json_option, print_json
from edgekiln.compiler.cli.store import store_option
from edgekiln.compiler.pruning.importance import Criterion

if TYPE_CHECKING:
    from edgekiln.compiler.stages.prune_sensitivity import PruneSensitivity, SensitivityCut


@click.command("prune-sensitivity")
@click.argument("src", metavar="IN")
@click.option(
    "--part", "parts", type=FiniteRange(min=0, max=1), multiple=True, default=(0.25, 0.5, 0.75),
    show_default=True, help="Cut this part of a group's channels; again for more.",
)  # fmt: skip
@click.option(
    "--importance", type=click.Choice(get_args(Criterion)), default="magnitude", show_default=True,
    help="Cut the channels first that matter least by this measure.",
)  # fmt: skip
@click.option("--data", default="", help="Validate on this data set (default: the model's own).")
@click.option("--seed", type=SEED, default=0, show_default=True,
              help="Split the data set by this seed.")  # fmt: skip
@allow_factory_option
@store_option
@json_option
def prune_sensitivity(
    *, src: str, parts: tuple[float, ...], importance: Criterion, data: str, seed: int,
    allow_factory: tuple[str, ...], store_url: str, as_json: bool,
) -> None:  # fmt: skip
    """Cut one channel group of the module IN at a time, and remove one block at a time, and show
    what the network is worth then on the validation split, without any training.

    What loses little may be cut deep; what loses much is for `edgekiln prune --keep`.
    """
    from edgekiln.compiler.build.recipe import Recipe
    from edgekiln.compiler.build.resolve import allowed, begin_stage
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.remote_store import open_store
    from edgekiln.compiler.stages.prune_sensitivity import (
        PruneSensitivity,
        PruneSensitivityStage,
    )
    from edgekiln.runtime import codec

    store = open_store(store_url)
    recipe = Recipe(data=data, seed=seed, allow_factories=allow_factory)
    artifact = begin_stage(store, "prune", src, recipe)
    stage = PruneSensitivityStage(parts=parts, importance=importance, data=data, seed=seed)
    with progress("prune-sensitivity") as advance:
        made = store.run(stage, artifact, None, advance, None, allowed(src, recipe))
    report = codec.decode(PruneSensitivity, json.loads(made.path.read_text(encoding="utf-8")))
    if as_json:
        print_json("edgekiln.prune-sensitivity/1", report)
        return
    for line in report.kept:
        click.echo(f"note: {line}", err=True)
    columns([("PART", "CHANNELS", "CUT", "MACS SAVED", *_heads(report)), *_rows(report)])
    whole = ", ".join(f"{name} {value:.4g}" for name, value in report.metrics.items())
    click.echo(
        f"whole network: loss {report.loss:.4g}{f', {whole}' if whole else ''}, on "
        f"{report.samples} validation samples"
    )


def _heads(report: "PruneSensitivity") -> tuple[str, ...]:
    return ("LOSS", *(name.upper() for name in report.metrics))


def _rows(report: "PruneSensitivity") -> Iterator[tuple[str, ...]]:
    for part in report.parts:
        for cut in part.cuts:
            gone = "whole" if part.is_block else f"{cut.part:.0%} ({cut.channels})"
            channels = "block" if part.is_block else str(part.channels)
            saved = f"{cut.macs_saved / report.macs:.1%}" if report.macs else "-"
            yield (part.name, channels, gone, saved, *_values(cut, report))


def _values(cut: "SensitivityCut", report: "PruneSensitivity") -> tuple[str, ...]:
    changes = (
        f"{cut.metrics[name]:.4g} ({cut.metrics[name] - value:+.4g})"
        for name, value in report.metrics.items()
    )
    return (f"{cut.loss:.4g}", *changes)
