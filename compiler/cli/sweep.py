"""`edgekiln sweep`: the best recipe of many."""

from dataclasses import replace
from typing import Unpack

import click

from edgekiln.compiler.cli.output import print_json
from edgekiln.compiler.cli.study_options import StudyOptions, study_options, study_request


@study_options
@click.command()
@click.argument("what", metavar="RECIPE.toml|MODEL")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    metavar="N",
    help="Let the study have this many trials in all; the same command again goes on to there.",
)
@click.option(
    "--objective",
    metavar="NAME",
    default="",
    help="Look for the best of this: a metric of the task, on the validation split; or macs, "
    "parameters, sqnr, bytes, arena, latency, energy or cycles (default: the task's first metric).",
)
def sweep(
    *, what: str, trials: int, objective: str, as_json: bool, **shared: Unpack[StudyOptions]
) -> None:
    """Try many recipes of a model and write down the best.

    Each trial is a build up to the quantized model, or the program where a limit asks for it; it is
    judged on the validation split. The test split is read once, for the best one. Trials that fall
    behind are stopped early; whatever two of them share is made once.

    \b
      edgekiln sweep resnet8 --trials 30
      edgekiln sweep resnet8 --param "prune.ratio=0.3..0.8" --where "latency<50us"
      edgekiln sweep mynet.toml --model nets:tiny --data photos/ --jobs 2 --trials 100
    """
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.remote_store import open_store
    from edgekiln.compiler.sweep.plan import settle
    from edgekiln.compiler.sweep.result import SCHEMA
    from edgekiln.compiler.sweep.sweep import sweep as run

    request = study_request(what, "sweep", shared)
    objectives = (objective,) if objective else ()
    request = replace(request, trials=trials, objectives=objectives)
    store = open_store(shared["store_url"])
    plan = settle(request, store)
    with progress("sweep") as advance:
        result = run(plan, store, shared["store_url"], advance)
    if as_json:
        print_json(SCHEMA, result)
        return
    from edgekiln.compiler.cli.sweep_table import show
    from edgekiln.compiler.documents.console import plain_console

    show(result, plan.measures, plain_console())
