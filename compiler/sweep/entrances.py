"""What a build begins with, as far as it may be tried: the model, its arguments, the pictures."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekiln.compiler.build.recipe import Option, Recipe
from edgekiln.compiler.build.resolve import is_file
from edgekiln.compiler.sweep.space import Space
from edgekiln.models.spec import join, split
from edgekiln.runtime.errors import ConfigError, EdgeKilnError
from edgekiln.runtime.hints import ScalarHint

if TYPE_CHECKING:
    from edgekiln.models.data.dataset import Dataset

# In a space they stand where stages do: "model.width", "data.size".
MODEL, DATA = "model", "data"
STUDENT, SIZE = "student", "size"
# Arguments that the data decides.
_OF_DATA = ("classes", "in_channels", "image_size", "features")
_KINDS = (bool, int, float, str)


def entrance_options(model: str, dataset: "Dataset | None") -> Mapping[str, tuple[Option, ...]]:
    """What may be tried of a model that a factory makes, and of the samples' size.

    Args:
        model: as the user named it; nothing may be tried of a file, which is made already.
        dataset: what it is trained on; None: there are no labels.

    Raises:
        ConfigError, InputError: there is no such model.
    """
    if is_file(model):
        return {}
    from edgekiln.models import zoo

    factory = zoo.resolve(model)
    found = [Option(field=STUDENT, hint=ScalarHint(str), default=model, help="")]
    for name, parameter in inspect.signature(factory.call).parameters.items():
        usual = parameter.default
        if name in _OF_DATA or not isinstance(usual, _KINDS):
            continue
        own = factory.kwargs.get(name, usual)
        found.append(Option(field=name, hint=ScalarHint(type(usual)), default=own, help=""))
    options = {MODEL: tuple(found)}
    if dataset is not None and (side := _side(dataset)):
        options[DATA] = (Option(field=SIZE, hint=ScalarHint(int), default=side, help=""),)
    return options


def _side(dataset: "Dataset") -> int:
    """Pixels along both sides of square pictures in one or three colours; 0: they are not."""
    channels, *sides = dataset.input_shape
    square = len(sides) == 2 and sides[0] == sides[1] > 1 and channels in (1, 3)
    return sides[0] if square else 0


def takes_smaller(model: str, dataset: "Dataset | None") -> bool:
    """Whether a model that a factory makes for any size takes pictures of half the size, too."""
    if is_file(model) or dataset is None or not (side := _side(dataset)):
        return False
    import torch

    from edgekiln.models import zoo

    factory = zoo.resolve(model)
    if factory.accepts("image_size"):
        return False
    channels = dataset.input_shape[0]
    fitting = {"in_channels": channels} if factory.accepts("in_channels") else {}
    try:
        with torch.no_grad():
            zoo.build(model, **fitting).eval()(torch.zeros(1, channels, side // 2, side // 2))
    except (EdgeKilnError, RuntimeError, ValueError):  # shapes that do not fit, say
        return False
    return True


def entered_model(model: str, values: Mapping[str, object]) -> str:
    """The model of a trial. `values`: by the parameters' names, those of stages among them."""
    own = {
        name.partition(".")[2]: value
        for name, value in values.items()
        if name.startswith(f"{MODEL}.")
    }
    if not own:
        return model
    name, options = split(str(own.pop(STUDENT, model)))
    given = {key.replace("-", "_"): _spelled(value) for key, value in own.items()}
    return join(name, {**options, **given})


def entered_recipe(recipe: Recipe, data: str, values: Mapping[str, object]) -> Recipe:
    """The recipe of a trial, whose pictures have the size that is tried. `data`: their spec."""
    size = values.get(f"{DATA}.{SIZE}")
    if size is None:
        return recipe
    name, options = split(data)
    return replace(recipe, data=join(name, {**options, SIZE: str(size)}))


def check_entrances(space: Space, model: str) -> None:
    """Make the models at the ends of what is tried of them, and let them go.

    Raises:
        ConfigError: a factory has no such argument, or refuses the value.
    """
    own = [each for each in space if each.stage == MODEL]
    if not own:
        return
    from edgekiln.models import zoo

    first = {each.name: each.range.probes[0] for each in own}
    for each in own:
        for value in each.range.probes:
            try:
                zoo.build(entered_model(model, {**first, each.name: value}))
            except EdgeKilnError as error:
                raise ConfigError(f"{each.name} = {value}: {error.message}", error.hint) from error


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
