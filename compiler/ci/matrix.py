"""From the configuration to cells: one model for one target, with everything settled."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from edgekiln.compiler.build import recipe as recipes
from edgekiln.compiler.build.recipe import STAGES, Precision, Recipe
from edgekiln.compiler.ci.config import Config, Gates, Model, Settings, merged
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import did_you_mean
from edgekiln.targets import profile
from edgekiln.targets.profile import TargetProfile

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
BENCH_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One bundle to make."""

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
        return f"{self.name}/{self.target.name}/{self.precision}"

    @property
    def bundle(self) -> str:
        """File name."""
        return f"{self.name}-{self.target.name}-{self.precision}.ekb"


def cells(config: Config, home: Path) -> tuple[Cell, ...]:
    """Every cell, in the order of the file. Paths in it are relative to `home`, its directory.

    Raises:
        ConfigError: an unknown target, model, stage or option; two cells of one name.
    """
    found = [cell for name in config.models for cell in _of_model(config, name, home)]
    doubled = {cell.id for cell in found if [c.id for c in found].count(cell.id) > 1}
    if doubled:
        raise ConfigError(f"{min(doubled)} is there twice", "give each target once")
    return tuple(found)


def select(all_cells: tuple[Cell, ...], only: str) -> tuple[Cell, ...]:
    """The cells whose id MODEL/TARGET/PRECISION, or model alone, the glob matches."""
    chosen = tuple(c for c in all_cells if fnmatchcase(c.id, only) or fnmatchcase(c.name, only))
    if not chosen:
        ids = ", ".join(cell.id for cell in all_cells)
        raise ConfigError(f"--only {only}: no such cell", f"cells are: {ids}")
    return chosen


def fan_out(chosen: tuple[Cell, ...]) -> dict[str, Any]:
    """A job a model, as GitHub's `strategy.matrix` takes it: targets share a model's training."""
    names = dict.fromkeys(cell.name for cell in chosen)
    return {"include": [{"model": name, "only": f"{name}/*"} for name in names]}


def _of_model(config: Config, name: str, home: Path) -> Iterator[Cell]:
    entry = config.models[name]
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"models.{name}: not a name for a file", "use letters, digits, dots, - and _"
        )
    named = [_load_target(target, home) for target in entry.targets or config.defaults.targets]
    for target in named:
        for precision in entry.precisions or config.defaults.precisions:
            settings = _settings(config, name, target.name, precision)
            recipe = _recipe(entry.model or name, settings, home, f"options of {name}")
            yield Cell(
                name=name,
                model=entry.model or name,
                target=target,
                precision=precision,
                recipe=_shared(recipe, name, named),
                bench_seconds=_or(settings.bench_seconds, BENCH_SECONDS),
                device=settings.device or "",
                gates=settings.gates,
            )


def _load_target(name: str, home: Path) -> TargetProfile:
    return profile.load(str(home / name) if name.endswith(".toml") else name)


def _settings(config: Config, name: str, target: str, precision: str) -> Settings:
    fitting = [
        override
        for override in config.overrides
        if fnmatchcase(name, override.model)
        and fnmatchcase(target, override.target)
        and fnmatchcase(precision, override.precision)
    ]
    model: Model = config.models[name]
    return merged(config.defaults, model, *fitting)


def _recipe(model: str, settings: Settings, home: Path, where: str) -> Recipe:
    """The model's recipe with the settings over it."""
    from edgekiln.compiler.build.resolve import default_recipe

    base = recipes.load(home / settings.recipe) if settings.recipe else default_recipe(model)
    base = recipes.override(base, data=settings.data, seed=settings.seed)
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
    below: Mapping[str, Mapping[str, Any]], above: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    stages = {*below, *above}
    return {stage: {**below.get(stage, {}), **above.get(stage, {})} for stage in sorted(stages)}


def _shared(recipe: Recipe, name: str, targets: list[TargetProfile]) -> Recipe:
    """What must be the same for every target of a model, so that its stages run once."""
    widths = math.lcm(*(target.channel_multiple for target in targets))
    shared: dict[str, dict[str, Any]] = {
        "prune": {"channel_multiple": widths},
        "compile": {"program": name},
    }
    return replace(recipe, options=_layered(shared, recipe.options))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
