"""The options that all commands of a study have, and the request that they make."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import click

from edgekiln.compiler.cli.options import PROCESSES, SEED, allow_factory_option, skip_option
from edgekiln.compiler.cli.output import json_option
from edgekiln.compiler.cli.store import store_option

if TYPE_CHECKING:
    from edgekiln.compiler.sweep.plan import SweepRequest

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SECONDS_OF = (86_400, 3_600, 60, 1)


class Duration(click.ParamType[float]):
    """A time such as 2h, 90m or 1h30m; in seconds."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value).strip())
        parts = [int(part or 0) for part in found.groups()] if found else []
        seconds = sum(n * each for n, each in zip(parts, _SECONDS_OF, strict=False))
        if not seconds:
            self.fail(f"{value!r} is no time; write 2h, 90m or 1h30m.", param, ctx)
        return float(seconds)


class StudyOptions(TypedDict):
    """What the command line says of a study."""

    storage: str | None
    study: str | None
    resume: bool
    where: tuple[str, ...]
    params: tuple[str, ...]
    jobs: int
    recipe_path: Path | None
    model_name: str | None
    target: str
    data: str | None
    task: str | None
    seed: int | None
    skip: tuple[str, ...]
    out: Path
    allow_factory: tuple[str, ...]
    store_url: str


_OPTIONS: tuple[Callable[[click.Command], click.Command], ...] = (
    click.option(
        "--storage",
        metavar="URL",
        help="Keep the study here, where any number of workers share it: sqlite:///FILE, "
        "journal:///FILE, postgresql://… (default: a .db file in the --out directory).",
    ),
    click.option("--study", metavar="NAME", help="Call the study so (default: the model's name)."),
    click.option(
        "--resume", is_flag=True, help="Go on with a study that is there, and begin none."
    ),
    click.option(
        "--where",
        multiple=True,
        metavar="LIMIT",
        help='Take only what is within this limit, such as "latency<5ms" or "accuracy>=90%"; '
        "again for more.",
    ),
    click.option(
        "--param",
        "params",
        multiple=True,
        metavar="OPTION=RANGE",
        help='Try this of an option: "distill.learning-rate=1e-4..1e-2:log", "prune.steps=1..3", '
        '"quantize.calibration=minmax,entropy", "model.width=8..32:step=8", "data.size=16,24,32"; '
        "again for more (default: the [sweep] of the recipe, else what is usual).",
    ),
    click.option(
        "--jobs",
        type=PROCESSES,
        default=1,
        show_default=True,
        metavar="N",
        help="Run this many trials at a time, each in a process of its own.",
    ),
    click.option(
        "--recipe",
        "recipe_path",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        help="Begin with this recipe of MODEL (default: the model's own).",
    ),
    click.option(
        "--model",
        "model_name",
        metavar="MODEL",
        help="Take RECIPE for this model (default: what its [sweep] names, or the zoo's of its "
        "name).",
    ),
    click.option(
        "--target",
        metavar="NAME|FILE.toml",
        default="host",
        show_default=True,
        help="Build for this device.",
    ),
    click.option(
        "--data",
        metavar="SPEC",
        help="Train and judge on this data set (default: the model's own).",
    ),
    click.option(
        "--task",
        metavar="NAME|MODULE:FACTORY",
        help="Train for this task (default: what the data is for).",
    ),
    click.option(
        "--seed",
        type=SEED,
        help="Draw weights, splits, orders and the trials by this seed (default: 0).",
    ),
    skip_option,
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default="dist",
        show_default=True,
        metavar="DIR",
        help="Write what is found to this directory.",
    ),
    allow_factory_option,
    store_option,
    json_option,
)


def study_options(command: click.Command) -> click.Command:
    """Add the options to a command, behind its own."""
    for add in _OPTIONS:
        add(command)
    return command


def study_request(
    what: str, kind: Literal["sweep", "search"], given: StudyOptions
) -> "SweepRequest":
    """The request of a study of one best trial or of a front, as far as its options are shared.

    Args:
        what: a model or a recipe.

    Raises:
        MissingToolError: what keeps the study is not installed.
        ConfigError: model, recipe or target cannot be found.
    """
    from edgekiln.compiler.build import recipe as recipes
    from edgekiln.compiler.build.resolve import display_name
    from edgekiln.compiler.sweep.plan import SweepRequest
    from edgekiln.compiler.sweep.source import recipe_and_model
    from edgekiln.compiler.sweep.storage import load_optuna
    from edgekiln.targets import profile

    load_optuna()  # before anything is read: what is missing is said at once
    recipe, model = recipe_and_model(what, given["recipe_path"], given["model_name"])
    recipe = recipes.override(
        recipe,
        data=given["data"],
        task=given["task"],
        seed=given["seed"],
        skip=recipes.check_skip(given["skip"], "--skip"),
        allow_factories=given["allow_factory"],
    )
    name, out, storage = display_name(model), given["out"], given["storage"]
    if storage is None:
        storage = f"sqlite:///{out / f'{name}-{kind}.db'}"
    return SweepRequest(
        model=model,
        recipe=recipe,
        target=profile.load(given["target"]),
        trials=None,
        storage=storage,
        study=given["study"] or name,
        out=out,
        front=kind == "search",
        where=given["where"],
        params=given["params"],
        resume=given["resume"],
        jobs=given["jobs"],
    )
