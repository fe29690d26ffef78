"""What is tried next: values of the parameters, as a study knows them and as a recipe does."""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.sweep.ranges import FloatRange, IntRange, ListedValues
from edgekiln.compiler.sweep.recipe_text import toml_value
from edgekiln.compiler.sweep.space import Parameter, Space

if TYPE_CHECKING:
    from optuna import Trial

_MOST_COUNTED = 10_000  # combinations


def suggested(trial: "Trial", parameter: Parameter) -> object:
    """The value that the sampler chooses for a trial."""
    match parameter.range:
        case FloatRange() as span:
            number = trial.suggest_float(
                parameter.name, span.low, span.high, log=span.log, step=span.step
            )
            return span.value_of(number)
        case IntRange() as whole:
            return whole.value_of(
                trial.suggest_int(
                    parameter.name, whole.low, whole.high, log=whole.log, step=whole.step
                )
            )
        case ListedValues() as listed:
            return listed.value_of(trial.suggest_categorical(parameter.name, listed.names))


def own_values(space: Space, recipe: Recipe) -> Mapping[str, object]:
    """The recipe's own values, or the stages' defaults, as far as they lie in the space: tried
    first, so that what is found is no worse.
    """
    own: dict[str, object] = {}
    for each in space:
        value = recipe.options.get(each.stage, {}).get(each.option.field, each.option.default)
        match each.range:
            case ListedValues(names=names) if value is not None and toml_value(value) in names:
                own[each.name] = toml_value(value)
            case FloatRange(low=low, high=high) | IntRange(low=low, high=high):
                if isinstance(value, int | float) and low <= value <= high:
                    own[each.name] = value
    return own


def texts_of(values: Mapping[str, object]) -> Mapping[str, str]:
    """The values of a trial as recipes have them, by which two of them are the same."""
    return {name: toml_value(value) for name, value in values.items()}


def untried(space: Space, tried: Collection[object]) -> Sequence[Mapping[str, object]]:
    """The combinations that were not tried, as a study knows them; none of a space without end."""
    sizes = [each.range.size for each in space]
    if math.prod(size or _MOST_COUNTED + 1 for size in sizes) > _MOST_COUNTED:
        return []
    left = []
    for raw in itertools.product(*map(_grid, space)):
        values = {
            each.name: each.range.value_of(of)  # type: ignore[arg-type]
            for each, of in zip(space, raw, strict=True)
        }
        if texts_of(values) not in tried:
            left.append({each.name: of for each, of in zip(space, raw, strict=True)})
    return left


def _grid(parameter: Parameter) -> Sequence[object]:
    """All values of a range of few, as the study knows them."""
    match parameter.range:
        case FloatRange(low=low, step=float(step), size=int(size)):
            return [low + place * step for place in range(size)]
        case IntRange(low=low, high=high, step=step):
            return range(low, high + 1, step)
        case ListedValues(names=names):
            return names
    return ()
