"""What is tried for a front where nothing is declared."""

from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.sweep.entrances import entrance_options, takes_smaller
from edgekiln.compiler.sweep.front_space import front_space
from edgekiln.compiler.sweep.space import check_space, options_of
from edgekiln.models.data import load

STAGES = ("distill", "prune", "export", "quantize", "compile")


def texts(model: str, recipe: Recipe, stages: tuple[str, ...] = STAGES) -> dict[str, str]:
    digits = load("digits", 0)
    options = {**options_of(stages, CHAIN), **entrance_options(model, digits)}
    space = front_space(recipe, options, resizable=takes_smaller(model, digits))
    check_space(space, recipe, CHAIN)
    return {each.name: str(each.range) for each in space}


def test_what_changes_a_models_costs_is_tried() -> None:
    assert texts("resnet8", Recipe()) == {
        "model.width": "8, 12, 16, 24",
        "data.size": "16, 24, 32",
        "prune.ratio": "0.2..1:step=0.1",
        "quantize.calibration": '"minmax", "mse"',
        "quantize.weight-bits": "8, 4",
        "quantize.activation-bits": "8, 16",
        "compile.compact": "false, true",
    }


def test_only_what_this_build_has_is_tried() -> None:
    found = texts("vit", Recipe(), ("distill", "export", "quantize"))
    assert list(found) == [
        "quantize.calibration", "quantize.weight-bits", "quantize.activation-bits",
    ]  # fmt: skip


def test_what_is_trained_in_8_bits_keeps_them() -> None:
    recipe = Recipe(options={"quantize": {"qat_epochs": 1}})
    assert "quantize.activation-bits" not in texts("resnet8", recipe)


def test_a_budget_of_the_recipe_says_what_pruning_leaves() -> None:
    recipe = Recipe(options={"prune": {"budget": ("macs=0.5",)}})
    assert "prune.ratio" not in texts("resnet8", recipe)


def test_a_models_own_width_is_the_middle() -> None:
    assert texts("resnet8?width=40", Recipe())["model.width"] == "20, 32, 40, 60"
    assert texts("mobilenetv2", Recipe())["model.width"] == "0.5, 0.75, 1.0, 1.5"
