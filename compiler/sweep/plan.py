"""What is searched for: settled before anything runs, the same for all workers of a study."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekiln.compiler.build import driver
from edgekiln.compiler.build.chain import CHAIN, Chain
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.entrances import (
    check_entrances,
    entered_model,
    entered_recipe,
    entrance_options,
    takes_smaller,
)
from edgekiln.compiler.sweep.front_space import front_space
from edgekiln.compiler.sweep.measures import (
    COSTS,
    Measure,
    MeasureLimit,
    check_limit,
    named_measure,
    parse_limit,
)
from edgekiln.compiler.sweep.needs import check_needs, measures_latency
from edgekiln.compiler.sweep.recipe_text import recipe_text
from edgekiln.compiler.sweep.space import (
    Space,
    check_space,
    declared_space,
    default_space,
    options_of,
    with_values,
)
from edgekiln.models.tasks.tally import Measured
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.hints import ScalarHint, TupleHint
from edgekiln.runtime.typed import convert, did_you_mean
from edgekiln.targets.profile import TargetProfile

if TYPE_CHECKING:
    from edgekiln.models.data.dataset import Dataset

SamplerName = Literal["tpe", "nsga2"]
_TEXTS = TupleHint((ScalarHint(str),), repeated=True)
# Keys of `[sweep]` that name no option; the others are "stage.option", or tables of stages.
SETTINGS: Mapping[str, ScalarHint | TupleHint] = {
    "model": ScalarHint(str),
    "objective": ScalarHint(str),
    "objectives": _TEXTS,  # of a front
    "where": _TEXTS,
}
_PROGRAM = ("program", "run", "estimate")  # what needs more than the model


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What the user asked for."""

    model: str
    recipe: Recipe
    target: TargetProfile
    trials: int | None  # in all; None: as many as the budget lets
    budget_s: float | None = None  # in which somebody works on the study; None: any
    storage: str  # URL
    study: str  # its name there
    out: Path
    front: bool = False  # whether the front of several objectives is looked for, or one best
    objectives: tuple[str, ...] = ()  # (): what the recipe says, or what is usual
    where: tuple[str, ...] = ()
    params: tuple[str, ...] = ()  # "distill.alpha=0..1"
    device: str = ""  # where latency and energy are measured, a name or address; "": here
    sampler: SamplerName = "tpe"
    resume: bool = False  # whether the study must be there
    jobs: int = 1

    @property
    def section(self) -> Mapping[str, object]:
        """The `[sweep]` of the recipe."""
        return self.recipe.sweep


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a trial builds."""

    model: str  # with its arguments: "resnet8?width=24"
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The request, and all that follows from it and from the model."""

    request: SweepRequest
    space: Space
    objectives: tuple[Measure, ...]
    limits: tuple[MeasureLimit, ...]
    stages: tuple[str, ...]  # those that all targets share, in their order
    data: str
    labelled: bool
    chain: Chain = field(default=CHAIN, compare=False)

    @property
    def objective(self) -> Measure:
        """The only objective, or the first one."""
        return self.objectives[0]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What every trial is asked for: the objectives first."""
        found = {each.name: each for each in (*self.objectives, *(x.measure for x in self.limits))}
        return tuple(found.values())

    @property
    def compiled(self) -> bool:
        """Whether a trial goes on to the program."""
        return any(each.needs in _PROGRAM for each in self.measures)

    def build_request(self, candidate: Candidate) -> driver.Request:
        """The build that a trial is the beginning of."""
        asked = self.request
        return driver.Request(
            model=candidate.model,
            targets=(asked.target,),
            recipe=candidate.recipe,
            out=asked.out,
            trial_s=0,
        )

    def candidate(self, values: Mapping[str, object]) -> Candidate:
        """What a trial with these values builds, its recipe without the section that says what is
        tried.
        """
        asked = self.request
        own = tuple(each for each in self.space if each.stage in self.chain.stages)
        recipe = with_values(asked.recipe, own, values)
        return Candidate(
            model=entered_model(asked.model, values),
            recipe=replace(entered_recipe(recipe, self.data, values), sweep={}),
        )

    def identity(self) -> Mapping[str, str]:
        """What two workers must have in common to share a study, each for its own message."""
        base = recipe_text(replace(self.request.recipe, sweep={}))
        names = [each.name for each in self.objectives]
        told = {
            "space": {each.name: str(each.range) for each in self.space},
            "objective": names[0] if len(names) == 1 else names,
            "limits": [str(each) for each in self.limits],
            "model": self.request.model,
            "target": self.request.target.name,
            **({"device": self.request.device} if self.request.device else {}),
            "recipe": hashlib.sha256(base.encode()).hexdigest(),
        }
        return {key: json.dumps(value, sort_keys=True) for key, value in told.items()}


def settle(request: SweepRequest, store: Store, chain: Chain = CHAIN) -> SweepPlan:
    """Find out what can be tried and measured, and refuse what cannot, before anything is trained.

    Raises:
        ConfigError: an option, range, objective or limit that there is not.
        MissingToolError, StorageError: the target's compiler is not there, or nothing can be
            written to `out`.
        EdgeKilnError: the model or the data cannot be read, or the device cannot be reached.
    """
    section = request.section
    settings = {key: section[key] for key in SETTINGS if key in section}
    ranges = {key: value for key, value in section.items() if key not in SETTINGS}
    for key, value in settings.items():
        convert(value, SETTINGS[key], f"[sweep] {key}")
    where = request.where or _texts(settings.get("where", ()))
    for text in where:  # before the model is looked for, which may take its time
        check_limit(text)
    from edgekiln.compiler.documents.progress import progress

    begun = SweepPlan(
        request=request, space=(), objectives=(), limits=(), stages=(), data="", labelled=False,
        chain=chain,
    )  # fmt: skip
    own = Candidate(model=request.model, recipe=request.recipe)
    build = driver.Build(begun.build_request(own), store, progress, chain)
    stages = tuple(build.shared_stages(build.start()))
    dataset = _dataset(request.recipe, build)
    known = known_measures(dataset)
    plan = replace(
        begun,
        objectives=_objectives(request, settings, known),
        limits=tuple(parse_limit(text, known) for text in where),
        stages=stages,
        data=build.data,
        labelled=build.labelled,
    )
    per_target = ("compile",) if plan.compiled else ()
    options = options_of((*stages, *per_target), chain)
    entrances = entrance_options(request.model, dataset)
    for key in ranges:  # a word that is no stage may be a setting that was meant
        if "." not in key and key not in chain.stages:
            hint = did_you_mean(key, (*SETTINGS, *stages), what="[sweep] has")
            raise ConfigError(f"[sweep]: unknown key {key!r}", hint)
    space = declared_space(ranges, request.params, {**options, **entrances}, chain)
    if not space and request.front:
        resizable = takes_smaller(request.model, dataset)
        space = front_space(request.recipe, {**options, **entrances}, resizable=resizable)
    space = space or default_space(request.recipe, stages, chain)
    check_space(space, request.recipe, chain)
    check_entrances(space, request.model)
    check_needs(plan.measures, request.target, request.device, request.out, build=request.front)
    return replace(plan, space=space)


def _dataset(recipe: Recipe, build: driver.Build) -> "Dataset | None":
    if not build.labelled:
        return None
    from edgekiln.models.data import load

    return load(build.data, recipe.seed)


def known_measures(dataset: "Dataset | None") -> Mapping[str, Measure]:
    """All that can be measured of a model for these samples: the task's own first."""
    found: dict[str, Measure] = {}
    for head in dataset.heads if dataset else ():
        for metric in head.task.metrics:
            label = Measured(head=head.name, metric=metric, value=0.0).label
            found[label] = Measure(name=label, metric=metric, needs="score")
    # Without labels the agreement with the float model comes first.
    return found | {"sqnr": COSTS["sqnr"]} | dict(COSTS)


def _objectives(
    request: SweepRequest, settings: Mapping[str, object], known: Mapping[str, Measure]
) -> tuple[Measure, ...]:
    """Those of the command line, else of the recipe, else the usual ones."""
    first = next(iter(known))
    usual: tuple[str, ...] = (first,)
    if request.front:
        time = "latency" if measures_latency(request.target, request.device) else "cycles"
        own, where, usual = "objectives", "--objectives", (first, time, "bytes")
    else:
        own, where = "objective", "--objective"
    names = request.objectives or _texts(settings.get(own, ())) or usual
    found = tuple(named_measure(name, known, where) for name in names)
    if doubled := {each.name for each in found if found.count(each) > 1}:
        raise ConfigError(f"{where}: {min(doubled)} is named twice", "name each once")
    if request.front and len(found) < 2:
        raise ConfigError(
            f"--objectives {','.join(names)}: a front is of two objectives or more",
            "add a cost, such as latency or bytes; one objective is what `edgekiln sweep` is for",
        )
    return found


def _texts(value: object) -> tuple[str, ...]:
    """A setting of the recipe, which is a text or several."""
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)
