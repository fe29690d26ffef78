"""What is tried of the model itself and of its samples."""

import pytest

from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.sweep.entrances import (
    check_entrances,
    entered_model,
    entered_recipe,
    entrance_options,
)
from edgekiln.compiler.sweep.ranges import IntRange
from edgekiln.compiler.sweep.space import Space, declared_space
from edgekiln.models.data import load
from edgekiln.runtime.errors import ConfigError


def space(model: str, *lines: str) -> Space:
    return declared_space({}, lines, entrance_options(model, load("digits", 0)), CHAIN)


def test_a_factorys_arguments_can_be_tried_but_for_those_that_the_data_decides() -> None:
    options = entrance_options("resnet8?width=24", load("digits", 0))
    assert {o.key: o.default for o in options["model"]} == {
        "student": "resnet8?width=24",
        "width": 24,
    }
    assert {o.key: o.default for o in options["data"]} == {"size": 32}
    (width,) = space("resnet8", "model.width=8..32:step=8")
    assert width.range == IntRange(low=8, high=32, step=8)


def test_samples_that_are_no_square_pictures_have_no_size_to_try() -> None:
    assert "data" not in entrance_options("dscnn", load("tones", 0))


def test_a_file_is_made_already() -> None:
    assert entrance_options("net.pt", None) == {}


def test_values_become_the_model_that_is_built() -> None:
    assert entered_model("resnet8?width=16", {"prune.ratio": 0.5}) == "resnet8?width=16"
    assert entered_model("resnet8?width=16", {"model.width": 8}) == "resnet8?width=8"
    tried = {"model.student": "vit?depth=2", "model.mlp-ratio": 4}
    assert entered_model("resnet8", tried) == "vit?depth=2&mlp_ratio=4"


def test_a_size_becomes_an_option_of_the_data() -> None:
    recipe = entered_recipe(Recipe(seed=3), "digits?limit=9", {"data.size": 24})
    assert recipe == Recipe(seed=3, data="digits?limit=9&size=24")
    assert entered_recipe(Recipe(), "digits", {"prune.ratio": 0.5}) == Recipe()


@pytest.mark.parametrize(
    ("model", "line", "message"),
    [
        ("vit", "model.dim=30,31", "model.dim = 30"),
        ("resnet8", "model.student=resnet8,resnt20", "model.student = resnt20"),
    ],
)
def test_what_a_factory_refuses_is_refused_before_anything_is_trained(
    model: str, line: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_entrances(space(model, line), model)


def test_an_argument_that_one_of_the_students_has_not_is_refused() -> None:
    tried = space("resnet8", "model.width=8,16", "model.student=resnet8,vit")
    with pytest.raises(ConfigError, match="vit: no parameter 'width'"):
        check_entrances(tried, "resnet8")


def test_an_argument_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="model has no option 'widht'") as caught:
        space("resnet8", "model.widht=8,16")
    assert "width" in caught.value.hint
