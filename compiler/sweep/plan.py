"""What is searched for: settled before anything runs, the same for all workers of a study."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekiln.compiler.build import driver
from edgekiln.compiler.build.chain import CHAIN, Chain
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.environment import doctor, toolchain
from edgekiln.compiler.pipeline.atomic_io import writable
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.measures import (
    COSTS,
    Measure,
    MeasureLimit,
    named_measure,
    parse_limit,
)
from edgekiln.compiler.sweep.recipe_text import recipe_text
from edgekiln.compiler.sweep.space import (
    Space,
    check_space,
    declared_space,
    default_space,
    with_values,
)
from edgekiln.models.tasks.tally import Measured
from edgekiln.runtime.errors import ConfigError, StorageError
from edgekiln.runtime.hints import ScalarHint, TupleHint
from edgekiln.runtime.typed import convert, did_you_mean
from edgekiln.targets.profile import TargetProfile

# Keys of `[sweep]` that name no option; the others are "stage.option", or tables of stages.
SETTINGS: Mapping[str, ScalarHint | TupleHint] = {
    "model": ScalarHint(str),
    "objective": ScalarHint(str),
    "where": TupleHint((ScalarHint(str),), repeated=True),
}
_PROGRAM = ("program", "run", "estimate")  # what needs more than the model


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What the user asked for."""

    model: str
    recipe: Recipe
    target: TargetProfile
    trials: int
    storage: str  # URL
    study: str  # its name there
    out: Path
    objective: str = ""  # "": what the task is judged by
    where: tuple[str, ...] = ()
    params: tuple[str, ...] = ()  # "distill.alpha=0..1"
    resume: bool = False  # whether the study must be there
    jobs: int = 1

    @property
    def section(self) -> Mapping[str, object]:
        """The `[sweep]` of the recipe."""
        return self.recipe.sweep


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The request, and all that follows from it and from the model."""

    request: SweepRequest
    space: Space
    objective: Measure
    limits: tuple[MeasureLimit, ...]
    stages: tuple[str, ...]  # those that all targets share, in their order
    data: str
    labelled: bool
    chain: Chain = field(default=CHAIN, compare=False)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What every trial is asked for: the objective first."""
        found = {each.name: each for each in (self.objective, *(x.measure for x in self.limits))}
        return tuple(found.values())

    @property
    def compiled(self) -> bool:
        """Whether a trial goes on to the program."""
        return any(each.needs in _PROGRAM for each in self.measures)

    def build_request(self, recipe: Recipe) -> driver.Request:
        """The build that a trial is the beginning of."""
        asked = self.request
        return driver.Request(
            model=asked.model, targets=(asked.target,), recipe=recipe, out=asked.out, trial_s=0
        )

    def recipe_with(self, values: Mapping[str, object]) -> Recipe:
        """The recipe of a trial, without the section that says what is tried."""
        return replace(with_values(self.request.recipe, self.space, values), sweep={})

    def identity(self) -> Mapping[str, str]:
        """What two workers must have in common to share a study, each for its own message."""
        base = recipe_text(replace(self.request.recipe, sweep={}))
        told = {
            "space": {each.name: str(each.range) for each in self.space},
            "objective": self.objective.name,
            "limits": [str(each) for each in self.limits],
            "model": self.request.model,
            "target": self.request.target.name,
            "recipe": hashlib.sha256(base.encode()).hexdigest(),
        }
        return {key: json.dumps(value, sort_keys=True) for key, value in told.items()}


def settle(request: SweepRequest, store: Store, chain: Chain = CHAIN) -> SweepPlan:
    """Find out what can be tried and measured, and refuse what cannot, before anything is trained.

    Raises:
        ConfigError: an option, range, objective or limit that there is not.
        MissingToolError, StorageError: the target's compiler is not there, or nothing can be
            written to `out`.
        EdgeKilnError: the model or the data cannot be read.
    """
    section = request.section
    settings = {key: section[key] for key in SETTINGS if key in section}
    ranges = {key: value for key, value in section.items() if key not in SETTINGS}
    for key, value in settings.items():
        convert(value, SETTINGS[key], f"[sweep] {key}")
    from edgekiln.compiler.documents.progress import progress

    build = driver.Build(
        driver.Request(
            model=request.model,
            targets=(request.target,),
            recipe=request.recipe,
            out=request.out,
            trial_s=0,
        ),
        store,
        progress,
        chain,
    )
    stages = tuple(build.shared_stages(build.start()))
    known = known_measures(request.recipe, build)
    objective = request.objective or str(settings.get("objective", "")) or next(iter(known))
    where = request.where or tuple(settings.get("where", ()))  # type: ignore[arg-type]
    limits = tuple(parse_limit(text, known) for text in where)
    plan = SweepPlan(
        request=request,
        space=(),
        objective=named_measure(objective, known, "--objective"),
        limits=limits,
        stages=stages,
        data=build.data,
        labelled=build.labelled,
        chain=chain,
    )
    per_target = ("compile",) if plan.compiled else ()
    swept = (*stages, *per_target)
    for key in ranges:  # a word that is no stage may be a setting that was meant
        if "." not in key and key not in chain.stages:
            hint = did_you_mean(key, (*SETTINGS, *stages), what="[sweep] has")
            raise ConfigError(f"[sweep]: unknown key {key!r}", hint)
    space = declared_space(ranges, request.params, swept, chain)
    space = space or default_space(request.recipe, stages, chain)
    check_space(space, request.recipe, chain)
    _check_tools(plan)
    return replace(plan, space=space)


def known_measures(recipe: Recipe, build: driver.Build) -> Mapping[str, Measure]:
    """All that can be measured of this model: the task's own first."""
    found: dict[str, Measure] = {}
    if build.labelled:
        from edgekiln.models.data import load

        for head in load(build.data, recipe.seed).heads:
            for metric in head.task.metrics:
                label = Measured(head=head.name, metric=metric, value=0.0).label
                found[label] = Measure(name=label, metric=metric, needs="score")
    # Without labels the agreement with the float model comes first.
    return found | {"sqnr": COSTS["sqnr"]} | dict(COSTS)


def another_search(
    name: str, storage: str, wanted: Mapping[str, str], known: Mapping[str, str]
) -> ConfigError:
    """The error of a study that searches for something else. Both are a plan's `identity`."""
    hint = "begin another one by --study NAME, or go on with the same command as before"
    if not known:
        return ConfigError(f"study {name!r} in {storage} is not one of ours", hint)
    key = next(key for key in wanted if known.get(key) != wanted[key])
    ours, theirs = json.loads(wanted[key]), json.loads(known.get(key, "null"))
    if key == "space" and isinstance(theirs, dict):
        changed = sorted(n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n))
        what = f"another space: {', '.join(changed)}"
    elif key == "recipe":
        what = "another recipe, data or seed beside its space"
    else:
        told = theirs if isinstance(theirs, str) else ", ".join(theirs or ()) or "none"
        what = f"another {key}: {told}"
    return ConfigError(f"study {name!r} in {storage} has {what}", hint)


def _check_tools(plan: SweepPlan) -> None:
    target = plan.request.target
    if plan.compiled:
        toolchain.require(target)
    needs = {each.needs for each in plan.measures}
    if "run" in needs and (reason := doctor.foreign(target)):
        raise ConfigError(
            f"latency: a program for {target.name} {reason}",
            "limit its cycles instead, which are an estimate",
        )
    if not writable(plan.request.out.absolute()):
        raise StorageError(
            f"{plan.request.out} cannot be written", "choose another directory by --out"
        )


def no_study(name: str, storage: str, there: Collection[str]) -> ConfigError:
    """The error of going on with a study that is none of those that the storage has."""
    return ConfigError(
        f"--resume: no study {name!r} in {storage}",
        f"there are {', '.join(sorted(there))}" if there else "begin one without it",
    )
