"""Which options a sweep tries: declared by the user, or by what the stages have."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from edgekiln.compiler.build.chain import Chain
from edgekiln.compiler.build.recipe import Option, Recipe, stage_options
from edgekiln.compiler.sweep.ranges import (
    FORM,
    FloatRange,
    IntRange,
    ListedValues,
    Range,
    parse_range,
    read_range,
)
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.hints import LiteralHint
from edgekiln.runtime.typed import did_you_mean

# What is tried of a stage's option where nobody says it. "choices": all that its type has; a rate
# that the recipe has is the middle of what is tried. More epochs and less pruning are always
# better, and cost: whoever wants to weigh them declares them.
_RATE = FloatRange(low=1e-4, high=1e-2, log=True)
_ALPHA = FloatRange(low=0.0, high=1.0, step=0.1)
_TEMPERATURE = FloatRange(low=1.0, high=8.0, log=True)
_AROUND = 5.0  # a rate's range reaches to this factor on both sides
DEFAULTS: Mapping[str, Mapping[str, Range | Literal["choices"]]] = {
    "distill": {
        "learning_rate": _RATE,
        "weight_decay": FloatRange(low=1e-4, high=1e-1, log=True),
        "distillation": "choices",
        "alpha": _ALPHA,
        "temperature": _TEMPERATURE,
    },
    "prune": {
        "learning_rate": _RATE,
        "steps": IntRange(low=1, high=4),
        "cut_schedule": "choices",
        "importance": "choices",
        "alpha": _ALPHA,
        "temperature": _TEMPERATURE,
    },
    "quantize": {"calibration": "choices"},
}
# Of `distill`: they say nothing where nobody teaches.
_TAUGHT = ("distillation", "alpha", "temperature")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An option of a stage, and what is tried of it."""

    stage: str
    option: Option
    range: Range

    @property
    def name(self) -> str:
        """Its name in recipes: "distill.learning-rate"."""
        return f"{self.stage}.{self.option.key}"


Space = tuple[Parameter, ...]


def options_of(stages: Collection[str], chain: Chain) -> Mapping[str, tuple[Option, ...]]:
    """What a stage can be told, of each of `stages`."""
    return {name: stage_options(chain.stage(name)) for name in stages}


def declared_space(
    table: Mapping[str, object],
    lines: Collection[str],
    known: Mapping[str, tuple[Option, ...]],
    chain: Chain,
) -> Space:
    """What the `[sweep]` of a recipe and `--param` on the command line say, which goes before it.

    Args:
        table: option → range, as TOML has it: "distill.alpha", or "alpha" in a table "distill".
        lines: "distill.alpha=0..1", each a `--param`.
        known: the options of the stages that run, and of what a build begins with.

    Raises:
        ConfigError: no such option, or its range is wrong.
    """
    found: dict[str, Parameter] = {}
    for name, given in _flat(table).items():
        stage, option = _option(name, known, chain, f"[sweep] {name}")
        span = parse_range(given, option.hint, f"[sweep] {name}")
        parameter = Parameter(stage=stage, option=option, range=span)
        found[parameter.name] = parameter
    said = set()
    for line in lines:
        name, equals, text = line.partition("=")
        if not equals:
            raise ConfigError(
                f"--param {line}: it has no range", f"write OPTION=RANGE, and for the range {FORM}"
            )
        stage, option = _option(name.strip(), known, chain, f"--param {name}")
        span = read_range(text, option.hint, f"--param {name}")
        parameter = Parameter(stage=stage, option=option, range=span)
        if parameter.name in said:
            raise ConfigError(f"--param {parameter.name} is given twice", "keep one of the two")
        said.add(parameter.name)
        found[parameter.name] = parameter
    return tuple(found.values())


def default_space(recipe: Recipe, stages: Collection[str], chain: Chain) -> Space:
    """What is tried where nothing is declared, of the stages that run."""
    found = []
    for stage in stages:
        options = {option.field: option for option in stage_options(chain.stage(stage))}
        own = recipe.options.get(stage, {})
        for field, usual in DEFAULTS.get(stage, {}).items():
            untaught = stage == "distill" and field in _TAUGHT and not own.get("teacher")
            if field not in options or untaught:
                continue
            span = _usual_range(usual, options[field], own.get(field))
            found.append(Parameter(stage=stage, option=options[field], range=span))
    return tuple(found)


def _usual_range(usual: Range | Literal["choices"], option: Option, own: object) -> Range:
    """The range of an option of `DEFAULTS`, of which the recipe may have a value of its `own`."""
    if usual == "choices":
        assert isinstance(option.hint, LiteralHint), f"{option.field} has no choices"
        return ListedValues(values=option.hint.values)
    if usual is _RATE and isinstance(own, float):
        return FloatRange(low=own / _AROUND, high=own * _AROUND, log=True)
    return usual


def check_space(space: Space, recipe: Recipe, chain: Chain) -> None:
    """Let each stage look at the ends of its ranges and at its choices. What a build begins with is
    looked at elsewhere.

    Raises:
        ConfigError: there is nothing to try, or a stage refuses a value.
    """
    if not space:
        raise ConfigError(
            "nothing to try: the build has no stage with a range of its own",
            "declare one in [sweep], or by --param quantize.samples=64..512",
        )
    own = tuple(each for each in space if each.stage in chain.stages)
    # A value may need another parameter's, such as a way of distilling a teacher.
    whole = with_values(recipe, own, {each.name: each.range.probes[0] for each in own})
    for parameter in own:
        for value in parameter.range.probes:
            error = _refusal(parameter, value, recipe, chain)
            if error and _refusal(parameter, value, whole, chain):
                raise ConfigError(f"{parameter.name}: {error.message}", error.hint) from error


def _refusal(
    parameter: Parameter, value: object, recipe: Recipe, chain: Chain
) -> ConfigError | None:
    """What the stage says against a value beside the recipe's others; None: nothing."""
    given = {**recipe.options.get(parameter.stage, {}), parameter.option.field: value}
    try:
        chain.stage(parameter.stage)(**given)
    except ConfigError as error:
        return error
    return None


def with_values(recipe: Recipe, space: Space, values: Mapping[str, object]) -> Recipe:
    """The recipe of a trial. `values`: by the parameters' names; `space`: those of stages."""
    options = {stage: dict(section) for stage, section in recipe.options.items()}
    for parameter in space:
        section = options.setdefault(parameter.stage, {})
        section[parameter.option.field] = values[parameter.name]
    return replace(recipe, options=options)


def _flat(table: Mapping[str, object]) -> dict[str, object]:
    """TOML's dotted keys without quotes are tables in tables."""
    found: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and "." not in key and not {"low", "high"} & value.keys():
            found |= {f"{key}.{name}": of for name, of in value.items()}
        else:
            found[key] = value
    return found


def _option(
    name: str, known: Mapping[str, tuple[Option, ...]], chain: Chain, where: str
) -> tuple[str, Option]:
    stage, _, key = name.partition(".")
    if stage not in known:
        names = [f"{each}.{option.key}" for each in known for option in known[each]]
        if stage in chain.stages:
            own = (each for each in known if each in chain.stages)
            hint = f"stages of this build are {', '.join(own)}"
            raise ConfigError(f"{where}: this build has no stage {stage}", hint)
        raise ConfigError(
            f"{where}: no such option", did_you_mean(name, names, "name STAGE.OPTION")
        )
    options = {option.key: option for option in known[stage]}
    if key not in options:
        hint = did_you_mean(key, options, what=f"{stage} has")
        raise ConfigError(f"{where}: {stage} has no option {key!r}", hint)
    if key in ("seed", "data"):
        raise ConfigError(
            f"{where}: another {key} is another question, no better answer",
            f"fix it by --{key}, and sweep again for a second one",
        )
    return stage, options[key]
