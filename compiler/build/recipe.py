"""Recipes: what each stage of a build does, from TOML, typed by the stages' own fields.

data = "digits"             # of every stage, unless its section says otherwise
shape = ["seq=128"]         # sizes of open extents of an ONNX model
constant = ["sr=16000"]     # inputs of it that are the same in every call
state = ["h0=hn"]           # inputs of a model that are outputs of the call before
stream = "x=2:1"            # the streaming form: a call takes 1 new frame of x along axis 2
no-state = false            # whether to look for none of these
task = "regression"         # what the targets of the data are for
calibrate = "pictures/"     # samples, with labels or without, for the ranges of quantization
seed = 0
allow-factories = ["nets:tiny"]  # that module files may name, besides the zoo's
skip = ["prune"]            # stages to leave out
[distill]
epochs = 12
[sweep]                     # what `edgekiln sweep` may try; a build leaves it aside
"distill.alpha" = [0.5, 0.7, 0.9]
"""

import importlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from edgekiln.compiler.build.stage_table import SKIPPABLE, STAGES
from edgekiln.compiler.pipeline.stage import Stage
from edgekiln.models.allowed_factories import check_names
from edgekiln.models.data.options import with_task
from edgekiln.models.tasks.heads import heads_of
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.hints import Hint, ScalarHint, TupleHint, fields_of
from edgekiln.runtime.typed import convert, did_you_mean, kebab, read_toml

S = TypeVar("S", bound=Stage)

Precision = Literal["int8", "float32"]  # of a program's numbers
SWEEP = "sweep"  # the section of what is tried, which the sweep itself reads
ATTACHES = "attach"  # the stage that `before` and `after` go to
CALIBRATES = "quantize"  # the stage that `calibrate` goes to
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
MAX_SEED = 2**32 - 1  # numpy's legacy generator, which users' modules may draw from, takes no more
_NAMES = TupleHint((ScalarHint(str),), repeated=True)
SHARED: Mapping[str, Hint] = {
    "data": ScalarHint(str),
    "task": ScalarHint(str),
    "calibrate": ScalarHint(str),
    "shape": _NAMES,
    "seed": ScalarHint(int),
    "constant": _NAMES,
    "state": _NAMES,
    "no-state": ScalarHint(bool),
    "stream": ScalarHint(str),
    "skip": _NAMES,
    "allow-factories": _NAMES,
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """A stage's field, as recipes and the command line see it."""

    field: str
    hint: Hint  # its type
    default: object
    help: str
    also: str = ""  # another name on the command line

    @property
    def key(self) -> str:
        """Its name in recipes and, after "--", on the command line."""
        return kebab(self.field)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Options for a build; what is not set is left to the stages' defaults."""

    data: str = ""  # with the task among its options, where one is named
    task: str = ""
    calibrate: str = ""
    shape: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    no_state: bool = False
    stream: str = ""
    seed: int = 0
    skip: tuple[str, ...] = ()
    allow_factories: tuple[str, ...] = ()
    # stage → field → value; values have the types of the fields
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sweep: Mapping[str, object] = field(default_factory=dict)  # as TOML has it

    def stage(self, cls: type[S], fitting: Mapping[str, object], given: Mapping[str, object]) -> S:
        """The stage with this recipe's options.

        Args:
            fitting: what suits this build, where the recipe says nothing and the stage has the
                field.
            given: fields that are no options.

        Raises:
            ConfigError: the stage refuses a value.
        """
        known = {f.name for f in fields(cls)}
        suits = {key: value for key, value in fitting.items() if key in known}
        if self.calibrate and cls.name == CALIBRATES:
            suits["data"] = self.calibrate
        return cls(**{**suits, **self.options.get(cls.name, {}), **given})


def stage_class(name: str, stages: Mapping[str, str] = STAGES) -> type[Stage]:
    """Import it. `stages`: name → "module:class"."""
    module, _, attribute = stages[name].partition(":")
    cls: type[Stage] = getattr(importlib.import_module(module), attribute)
    return cls


def stage_options(cls: type[Stage]) -> tuple[Option, ...]:
    """The fields a user may set; the others, marked `option: False`, are given by the build."""
    hints = fields_of(cls)
    return tuple(
        Option(
            field=f.name,
            hint=hints[f.name],
            default=f.default if f.default is not MISSING else None,
            help=f.metadata.get("help", ""),
            also=f.metadata.get("also", ""),
        )
        for f in fields(cls)
        if f.metadata.get("option", True)
    )


def load(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        ConfigError: unreadable, or an unknown section or key, or a wrong type.
    """
    try:
        table = read_toml(path, "a recipe is a TOML file")
    except FileNotFoundError:
        raise ConfigError(f"no such recipe file: {path}") from None
    return parse(table, path.name)


def parse(table: Mapping[str, object], where: str) -> Recipe:
    """Check a recipe's table; `where` names it in errors."""
    shared: dict[str, Any] = {}  # of the types of the fields, as `SHARED` has them
    options: dict[str, Mapping[str, object]] = {}
    for key, value in table.items():
        if key in SHARED:
            shared[key.replace("-", "_")] = _value(key, value, SHARED[key], where)
        elif key in STAGES or key == SWEEP:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: {key} must be a section", f"write [{key}]")
            if key == SWEEP:
                shared[SWEEP] = value
            else:
                options[key] = _section(key, value, f"{where}: [{key}]")
        else:
            raise ConfigError(
                f"{where}: unknown section or key {key!r}",
                did_you_mean(key, (*SHARED, *STAGES, SWEEP), what="a recipe has"),
            )
    check_skip(shared.get("skip", ()), where)
    check_names(shared.get("allow_factories", ()), f"{where}: allow-factories")
    return with_its_task(Recipe(options=options, **shared))


def with_its_task(recipe: Recipe) -> Recipe:
    """The recipe whose data says what its targets are for. Raises ConfigError: no such task."""
    if not recipe.task:
        return recipe
    heads_of(recipe.task)
    return replace(recipe, data=with_task(recipe.data, recipe.task) if recipe.data else "")


def check_skip(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The names of stages to skip, if all of them can be."""
    for name in names:
        if name not in SKIPPABLE:
            raise ConfigError(
                f"{where}: cannot skip {name!r}", f"can be skipped: {', '.join(SKIPPABLE)}"
            )
    return names


def override(
    recipe: Recipe,
    *,
    data: str | None = None,
    task: str | None = None,
    calibrate: str | None = None,
    seed: int | None = None,
    shape: tuple[str, ...] = (),
    constant: tuple[str, ...] = (),
    state: tuple[str, ...] = (),
    no_state: bool = False,
    stream: str = "",
    skip: tuple[str, ...] = (),
    allow_factories: tuple[str, ...] = (),
    before: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
) -> Recipe:
    """The recipe with what the command line says, which goes for every stage.

    What is fixed, skipped or allowed is added to the recipe's own; steps before and after the
    network stand in the place of those of the recipe.
    """
    changes: dict[str, Any] = {}  # as `shared` in `parse`
    if data is not None:
        changes["data"] = data
    if task is not None:
        changes["task"] = task
    if calibrate is not None:
        changes["calibrate"] = calibrate
    if seed is not None:
        changes["seed"] = seed
    options = {
        name: {
            key: value
            for key, value in section.items()
            if key not in changes and not (key == "data" and calibrate and name == CALIBRATES)
        }
        for name, section in recipe.options.items()
    }
    if ends := {key: steps for key, steps in (("before", before), ("after", after)) if steps}:
        options[ATTACHES] = {**options.get(ATTACHES, {}), **ends}
    changed = replace(
        recipe,
        options=options,
        shape=(*recipe.shape, *shape),
        constant=(*recipe.constant, *constant),
        state=(*recipe.state, *state),
        no_state=recipe.no_state or no_state,
        stream=stream or recipe.stream,
        skip=(*recipe.skip, *skip),
        allow_factories=(*recipe.allow_factories, *allow_factories),
        **changes,
    )
    return with_its_task(changed)


def _section(stage: str, table: Mapping[str, object], where: str) -> dict[str, object]:
    known = {option.key: option for option in stage_options(stage_class(stage))}
    values = {}
    for key, value in table.items():
        if key not in known:
            near = did_you_mean(key, known, what="keys are")
            raise ConfigError(f"{where}: unknown key {key!r}", near)
        hint = known[key].hint
        # One alone needs no brackets, as on the command line: teacher = "resnet20".
        alone = takes_one(hint) and isinstance(value, str | int | float)
        values[known[key].field] = _value(key, [value] if alone else value, hint, where)
    return values


def takes_one(hint: Hint) -> bool:
    """Whether an option, which may be given again, may be given as a value that is no list."""
    return isinstance(hint, TupleHint) and all(isinstance(of, ScalarHint) for of in hint.items)


def _value(key: str, value: object, hint: Hint, where: str) -> object:
    """`value` as option `key` takes it. Raises ConfigError."""
    converted = convert(value, hint, f"{where}: {key}")
    if key == "seed" and isinstance(converted, int) and not 0 <= converted <= MAX_SEED:
        raise ConfigError(
            f"{where}: seed = {converted}", f"a seed is a whole number from 0 to {MAX_SEED}"
        )
    return converted
