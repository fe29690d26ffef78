"""Phases as users write them: tables of a recipe, lines of a command."""

import tomllib

import click
import pytest

from edgekiln.compiler.build import recipe
from edgekiln.compiler.cli.stages import option_of
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.training_phases import TrainingPhase
from edgekiln.runtime.codec import encode
from edgekiln.runtime.errors import ConfigError

RECIPE = """
[distill]
cutout = 8

[[distill.phase]]
epochs = 4
resolution = 24
learning-rate = 0.02

[[distill.phase]]
epochs = 6
augment-ops = 2
"""
PHASES = (
    TrainingPhase(epochs=4, resolution=24, learning_rate=0.02),
    TrainingPhase(epochs=6, augment_ops=2),
)


def on_the_command_line(*given: str) -> object:
    (option,) = (o for o in recipe.stage_options(DistillStage) if o.field == "phase")
    command = click.Command("distill", params=[option_of(option)])
    return command.make_context("distill", [f"--phase={text}" for text in given]).params["phase"]


def test_a_recipes_tables_and_a_commands_lines_say_the_same():
    read = recipe.parse(tomllib.loads(RECIPE), "fast.toml")
    assert read.options["distill"]["phase"] == PHASES
    assert read.stage(DistillStage, {}, {}).phase == PHASES
    told = on_the_command_line(
        "epochs=4,resolution=24,learning-rate=0.02", "epochs=6,augment-ops=2"
    )
    assert told == PHASES


def test_a_misspelt_key_is_named_with_its_phase():
    table = tomllib.loads(RECIPE.replace("augment-ops", "augment-op"))
    with pytest.raises(ConfigError) as caught:
        recipe.parse(table, "fast.toml")
    assert caught.value.message == "fast.toml: [distill]: phase[1]: unknown key 'augment-op'"
    assert caught.value.hint == "did you mean augment-ops?"


def test_a_line_that_is_no_table_is_refused():
    with pytest.raises(click.BadParameter, match="no row of key=value"):
        on_the_command_line("4 epochs")
    with pytest.raises(ConfigError, match="epochs is missing"):
        on_the_command_line("resolution=24")


def test_another_phase_is_another_key():
    one, other = DistillStage(phase=PHASES), DistillStage(phase=PHASES[:1])
    assert encode(one) != encode(other)
