"""Which recipe is swept, and for which model."""

from pathlib import Path

from edgekiln.compiler.build.recipe import Recipe, load
from edgekiln.compiler.build.resolve import default_recipe
from edgekiln.runtime.errors import ConfigError

_SUFFIX = ".toml"


def recipe_and_model(what: str, recipe_path: Path | None, model: str | None) -> tuple[Recipe, str]:
    """What the user named: a model, with its own recipe or one beside it; or a recipe file.

    Raises:
        ConfigError: both are named twice, or nothing says for which model a recipe is.
    """
    if not what.endswith(_SUFFIX):
        if model is not None:
            raise ConfigError(
                f"{what} is a model, and --model {model} is another", "name one of the two"
            )
        return (load(recipe_path) if recipe_path else default_recipe(what)), what
    if recipe_path is not None:
        raise ConfigError(
            f"{what} is a recipe, and --recipe {recipe_path} is another", "name one of the two"
        )
    recipe = load(Path(what))
    named = model or recipe.sweep.get("model") or _of_the_zoo(Path(what).stem)
    if not isinstance(named, str) or not named:
        raise ConfigError(
            f"{what}: for which model?", "give --model NAME, or model = … in its [sweep] section"
        )
    return recipe, named


def _of_the_zoo(name: str) -> str:
    from edgekiln.models.zoo.entries import ENTRIES

    return name if name in ENTRIES else ""
