"""The configuration becomes jobs: one model for one target, with everything settled."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from edgekiln.compiler.build import recipe as recipes
from edgekiln.compiler.build.recipe import Precision, Recipe
from edgekiln.compiler.build.stage_table import STAGES
from edgekiln.compiler.ci.config import Config, Gates, Model, Override, Settings, merged
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import did_you_mean
from edgekiln.targets import profile
from edgekiln.targets.profile import TargetProfile

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
BENCH_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One bundle to make: a model for a target in a precision, with its options settled."""

    name: str  # the model's section
    model: str  # what `edgekiln build` takes
    target: TargetProfile
    precision: Precision
    recipe: Recipe
    bench_seconds: float
    device: str = ""  # name or address; "": this machine
    gates: Gates

    @property
    def id(self) -> str:
        """Its name in results, locks and messages: MODEL/TARGET/PRECISION."""
        return f"{self.name}/{self.target.name}/{self.precision}"

    @property
    def bundle(self) -> str:
        """The bundle's file name."""
        return f"{self.name}-{self.target.name}-{self.precision}.ekb"


def jobs(config: Config, home: Path) -> tuple[Job, ...]:
    """Every job, in the order of the file. Paths in it are relative to `home`, its directory.

    Raises:
        ConfigError: an unknown target, model, stage or option; two jobs of one name.
    """
    found = [job for name in config.models for job in _of_model(config, name, home)]
    doubled = {job.id for job in found if [c.id for c in found].count(job.id) > 1}
    if doubled:
        raise ConfigError(f"{min(doubled)} is there twice", "give each target once")
    for number, override in enumerate(config.overrides, 1):
        # A gate that stands in it would hold nothing, and nobody would see that.
        if not any(_fits(override, job.name, job.target.name, job.precision) for job in found):
            globs = f"{override.model}/{override.target}/{override.precision}"
            raise ConfigError(
                f"overrides: number {number} is for {globs}, and there is no such job",
                f"jobs are: {', '.join(job.id for job in found)}",
            )
    return tuple(found)


def select(all_jobs: tuple[Job, ...], only: str) -> tuple[Job, ...]:
    """The jobs whose id MODEL/TARGET/PRECISION, or model alone, the glob matches."""
    chosen = tuple(c for c in all_jobs if fnmatchcase(c.id, only) or fnmatchcase(c.name, only))
    if not chosen:
        ids = ", ".join(job.id for job in all_jobs)
        raise ConfigError(f"--only {only}: no such job", f"jobs are: {ids}")
    return chosen


def fan_out(chosen: tuple[Job, ...]) -> dict[str, object]:
    """One entry a model for GitHub's `strategy.matrix`: targets share a model's training."""
    names = dict.fromkeys(job.name for job in chosen)
    return {"include": [{"model": name, "only": f"{name}/*"} for name in names]}


def _of_model(config: Config, name: str, home: Path) -> Iterator[Job]:
    entry = config.models[name]
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"models.{name}: not a name for a file", "use letters, digits, dots, - and _"
        )
    # All of them first: widths that suit every target decide the stages before `compile`.
    named = [_load_target(target, home) for target in entry.targets or config.defaults.targets]
    for target in named:
        for precision in entry.precisions or config.defaults.precisions:
            settings = _settings(config, name, target.name, precision)
            recipe = _recipe(entry.model or name, settings, home, f"options of {name}")
            yield Job(
                name=name,
                model=entry.model or name,
                target=target,
                precision=precision,
                recipe=_shared(recipe, name, named),
                bench_seconds=_or(settings.bench_seconds, BENCH_SECONDS),
                device=settings.device or "",
                gates=_beside(settings.gates, home),
            )


def _beside(gates: Gates, home: Path) -> Gates:
    """The gates with paths as seen from anywhere."""
    return gates if gates.front is None else replace(gates, front=str(home / gates.front))


def _load_target(name: str, home: Path) -> TargetProfile:
    return profile.load(str(home / name) if name.endswith(".toml") else name)


def _settings(config: Config, name: str, target: str, precision: str) -> Settings:
    fitting = [each for each in config.overrides if _fits(each, name, target, precision)]
    # In the order of the file: the last one that fits wins.
    model: Model = config.models[name]
    return merged(config.defaults, model, *fitting)


def _fits(override: Override, name: str, target: str, precision: str) -> bool:
    return (
        fnmatchcase(name, override.model)
        and fnmatchcase(target, override.target)
        and fnmatchcase(precision, override.precision)
    )


def _recipe(model: str, settings: Settings, home: Path, where: str) -> Recipe:
    """The model's recipe with the settings over it."""
    from edgekiln.compiler.build.resolve import default_recipe

    base = recipes.load(home / settings.recipe) if settings.recipe else default_recipe(model)
    base = recipes.override(
        base,
        data=settings.data,
        task=settings.task,
        calibrate=settings.calibrate,
        shape=settings.shape or (),
        seed=settings.seed,
    )
    if misplaced := sorted({*settings.options} - {*STAGES}):
        raise ConfigError(
            f"{where}: no stage named {misplaced[0]!r}",
            did_you_mean(misplaced[0], STAGES, what="stages are"),
        )
    over = recipes.parse(settings.options, where)
    if settings.skip is not None:
        base = replace(base, skip=recipes.check_skip(settings.skip, where))
    return replace(base, options=_layered(base.options, over.options))


def _layered(
    below: Mapping[str, Mapping[str, object]], above: Mapping[str, Mapping[str, object]]
) -> dict[str, Mapping[str, object]]:
    # Sorted, so that equal recipes have one form.
    stages = {*below, *above}
    return {stage: {**below.get(stage, {}), **above.get(stage, {})} for stage in sorted(stages)}


def _shared(recipe: Recipe, name: str, targets: list[TargetProfile]) -> Recipe:
    """What must be the same for every target of a model, so that its stages run once."""
    # Widths that are multiples of this suit every target.
    widths = math.lcm(*(target.channel_multiple for target in targets))
    shared: dict[str, dict[str, object]] = {
        "prune": {"channel_multiple": widths},
        "compile": {"program": name},
    }
    # Below the recipe, so that what the user says of these goes before it.
    return replace(recipe, options=_layered(shared, recipe.options))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
