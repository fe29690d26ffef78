"""`edgekiln search`: the front of what a model can be on a device."""

from dataclasses import replace
from functools import partial
from typing import Unpack, cast

import click

from edgekiln.compiler.cli.options import FiniteRange
from edgekiln.compiler.cli.output import print_json
from edgekiln.compiler.cli.study_options import (
    Duration,
    StudyOptions,
    study_options,
    study_request,
)

_HOUR_S = 3600.0


@study_options
@click.command()
@click.argument("what", metavar="RECIPE.toml|MODEL")
@click.option(
    "--objectives",
    metavar="NAME,NAME,…",
    default="",
    help="Look for the front of these: metrics of the task, on the validation split; macs, "
    "parameters, sqnr, bytes, arena, latency, energy, cycles (default: the task's first metric, "
    "latency, or cycles where nothing measures it, and bytes).",
)
@click.option(
    "--budget",
    type=Duration(),
    metavar="TIME",
    help="Let the study have this time in all, such as 2h or 90m, pauses apart; measuring the "
    "front comes on top (default: 1h, or none with --trials).",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="Let the study have this many trials in all (default: as many as the budget lets).",
)
@click.option(
    "--device",
    metavar="NAME|ADDRESS",
    default="",
    help="Measure latency and energy on this device (default: on this machine).",
)
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "nsga2"]),
    default="tpe",
    show_default=True,
    help="Propose trials by a tree-structured Parzen estimator, or by evolution.",
)
@click.option(
    "--bench-seconds",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Let each of the five trials of the benchmark at the end last this many seconds.",
)
def search(
    *,
    what: str,
    objectives: str,
    budget: float | None,
    trials: int | None,
    device: str,
    sampler: str,
    bench_seconds: float,
    as_json: bool,
    **shared: Unpack[StudyOptions],
) -> None:
    """Find the front between accuracy and costs, and build every point of it.

    Each trial is a build that is judged on the validation split and measured. The trials that
    nothing else is better than are built whole, measured again side by side and checked bit by bit:
    bundles, recipes, front.json and a page with pictures.

    \b
      edgekiln search resnet8 --budget 30m
      edgekiln search resnet8 --objectives accuracy,latency,bytes --where "latency<50us"
      edgekiln pick dist/resnet8-front --where "latency<20us" --by accuracy
    """
    from edgekiln.compiler.cli.front_progress import front_progress
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.remote_store import open_store
    from edgekiln.compiler.search.pick import none_on_front
    from edgekiln.compiler.search.search import directory_of
    from edgekiln.compiler.search.search import search as run
    from edgekiln.compiler.sweep.front_document import SCHEMA
    from edgekiln.compiler.sweep.plan import SamplerName, settle

    names = tuple(name.strip() for name in objectives.split(",") if name.strip())
    request = replace(
        study_request(what, "search", shared),
        trials=trials,
        budget_s=_HOUR_S if budget is None and trials is None else budget,
        objectives=names,
        device=device,
        sampler=cast("SamplerName", sampler),
    )
    store = open_store(shared["store_url"])
    plan = settle(request, store)
    shown_trials = partial(front_progress, plan.objectives)
    url = shared["store_url"]
    result = run(plan, store, url, shown_trials, progress, bench_seconds=bench_seconds)
    if as_json:
        print_json(SCHEMA, result)
    else:
        from edgekiln.compiler.cli.front_table import show_front
        from edgekiln.compiler.documents.console import plain_console

        show_front(result, directory_of(plan), plain_console())
    if not result.front:
        raise none_on_front(result)
