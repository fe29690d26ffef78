"""Every model has a recipe that loads, for the data its entry names."""

import re
from pathlib import Path

import pytest

from edgekiln.compiler.build import recipe
from edgekiln.compiler.build.resolve import named_recipe
from edgekiln.models import zoo
from edgekiln.models.zoo.entries import RECIPES
from edgekiln.runtime.errors import ConfigError


def test_every_model_has_a_recipe_and_every_recipe_a_model():
    names = {path.stem for path in RECIPES.glob("*.toml")}
    assert names >= set(zoo.ENTRIES)
    assert {name for name in names - set(zoo.ENTRIES) if model_of(name) not in zoo.ENTRIES} == set()


def model_of(name: str) -> str:
    """resnet8-cifar10 → resnet8."""
    return name.rpartition("-")[0]


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_a_recipe_loads_and_its_stages_accept_it(name):
    entry = zoo.ENTRIES[name]
    loaded = recipe.load(entry.recipe)
    assert loaded.data == entry.data
    for stage in loaded.options:
        loaded.stage(recipe.stage_class(stage), {}, {})


OTHER_DATA = {"cifar10": "cifar-10-batches-py", "fashion": "fashion_mnist"}


@pytest.mark.parametrize(
    "name", sorted({path.stem for path in RECIPES.glob("*.toml")} - set(zoo.ENTRIES))
)
def test_a_recipe_for_other_data_names_them_and_its_stages_accept_it(name):
    loaded = named_recipe(Path(name))
    assert loaded.data == OTHER_DATA[name.rpartition("-")[2]]
    for stage in loaded.options:
        loaded.stage(recipe.stage_class(stage), {}, {})


def test_a_recipe_that_is_not_there_is_told_from_those_that_are():
    with pytest.raises(ConfigError) as caught:
        named_recipe(Path("resnet8-cifar"))
    assert caught.value.hint == "did you mean resnet8-cifar10?"
    with pytest.raises(ConfigError, match="no such recipe file"):
        named_recipe(Path("resnet8-cifar.toml"))


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_a_models_own_recipe_says_how_long_it_takes(name):
    text = zoo.ENTRIES[name].recipe.read_text().replace("minute on", "minutes on")
    assert re.search(r"about \w+ minutes on two cores", text.replace("\n# ", " "), re.IGNORECASE)
