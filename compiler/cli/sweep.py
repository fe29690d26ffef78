"""`edgekiln sweep`: the best recipe of many."""

from pathlib import Path

import click

from edgekiln.compiler.cli.options import SEED, allow_factory_option, skip_option
from edgekiln.compiler.cli.output import json_option, print_json
from edgekiln.compiler.cli.store import store_option


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
    "--storage",
    metavar="URL",
    help="Keep the study here, where any number of workers share it: sqlite:///FILE, "
    "journal:///FILE, postgresql://… (default: MODEL-sweep.db in the --out directory).",
)
@click.option("--study", metavar="NAME", help="Call the study so (default: the model's name).")
@click.option("--resume", is_flag=True, help="Go on with a study that is there, and begin none.")
@click.option(
    "--objective",
    metavar="NAME",
    default="",
    help="Look for the best of this: a metric of the task, on the validation split; or macs, "
    "parameters, sqnr, bytes, arena, latency or cycles (default: the task's first metric).",
)
@click.option(
    "--where",
    multiple=True,
    metavar="LIMIT",
    help='Take only what is within this limit, such as "latency<5ms" or "accuracy>=90%"; again '
    "for more.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="OPTION=RANGE",
    help='Try this of an option: "distill.learning-rate=1e-4..1e-2:log", "prune.steps=1..3", '
    '"quantize.calibration=minmax,entropy"; again for more (default: the [sweep] of the recipe, '
    "else rates, the teacher's weight and temperature, the way of pruning, the calibration).",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Run this many trials at a time, each in a process of its own.",
)
@click.option(
    "--recipe",
    "recipe_path",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Begin with this recipe of MODEL (default: the model's own).",
)
@click.option(
    "--model",
    "model_name",
    metavar="MODEL",
    help="Sweep RECIPE for this model (default: what its [sweep] names, or the zoo's of its name).",
)
@click.option(
    "--target",
    metavar="NAME|FILE.toml",
    default="host",
    show_default=True,
    help="Build for this device.",
)
@click.option(
    "--data", metavar="SPEC", help="Train and judge on this data set (default: the model's own)."
)
@click.option(
    "--task",
    metavar="NAME|MODULE:FACTORY",
    help="Train for this task (default: what the data is for).",
)
@click.option(
    "--seed",
    type=SEED,
    help="Draw weights, splits, orders and the trials by this seed (default: 0).",
)
@skip_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="dist",
    show_default=True,
    metavar="DIR",
    help="Write the page and the best recipe to this directory.",
)
@allow_factory_option
@store_option
@json_option
def sweep(
    *,
    what: str,
    trials: int,
    storage: str | None,
    study: str | None,
    resume: bool,
    objective: str,
    where: tuple[str, ...],
    params: tuple[str, ...],
    jobs: int,
    recipe_path: Path | None,
    model_name: str | None,
    target: str,
    data: str | None,
    task: str | None,
    seed: int | None,
    skip: tuple[str, ...],
    out: Path,
    allow_factory: tuple[str, ...],
    store_url: str,
    as_json: bool,
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
    from edgekiln.compiler.build import recipe as recipes
    from edgekiln.compiler.build.resolve import display_name
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.remote_store import open_store
    from edgekiln.compiler.sweep.plan import SweepRequest, settle
    from edgekiln.compiler.sweep.result import SCHEMA
    from edgekiln.compiler.sweep.source import recipe_and_model
    from edgekiln.compiler.sweep.storage import load_optuna
    from edgekiln.compiler.sweep.sweep import sweep as run
    from edgekiln.runtime.files import make_folder
    from edgekiln.targets import profile

    load_optuna()  # before anything is read: what is missing is said at once
    recipe, model = recipe_and_model(what, recipe_path, model_name)
    recipe = recipes.override(
        recipe,
        data=data,
        task=task,
        seed=seed,
        skip=recipes.check_skip(skip, "--skip"),
        allow_factories=allow_factory,
    )
    name = display_name(model)
    if storage is None:
        make_folder(out)
        storage = f"sqlite:///{out / f'{name}-sweep.db'}"
    request = SweepRequest(
        model=model,
        recipe=recipe,
        target=profile.load(target),
        trials=trials,
        storage=storage,
        study=study or name,
        out=out,
        objective=objective,
        where=where,
        params=params,
        resume=resume,
        jobs=jobs,
    )
    store = open_store(store_url)
    plan = settle(request, store)
    with progress("sweep") as advance:
        result = run(plan, store, store_url, advance)
    if as_json:
        print_json(SCHEMA, result)
        return
    from rich.console import Console

    from edgekiln.compiler.cli.sweep_table import show

    show(result, plan.measures, Console())
