"""Every model has a recipe that loads, for the data its entry names."""

import pytest

from edgekiln.compiler.build import recipe
from edgekiln.models import zoo
from edgekiln.models.zoo.entries import RECIPES


def test_every_model_has_a_recipe_and_every_recipe_a_model():
    assert {path.stem for path in RECIPES.glob("*.toml")} == set(zoo.ENTRIES)


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_a_recipe_loads_and_its_stages_accept_it(name):
    entry = zoo.ENTRIES[name]
    loaded = recipe.load(entry.recipe)
    assert loaded.data == entry.data
    for stage in loaded.options:
        loaded.stage(recipe.stage_class(stage), {}, {})


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_a_recipe_says_how_long_it_takes(name):
    assert "minutes on two cores" in zoo.ENTRIES[name].recipe.read_text().replace(
        "minute on", "minutes on"
    )
