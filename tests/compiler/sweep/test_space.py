"""Which options are tried, which measures count, and how the best recipe is written."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.build.recipe import Recipe, parse
from edgekiln.compiler.sweep.measures import COSTS, Measure, MeasureLimit, parse_limit
from edgekiln.compiler.sweep.ranges import FloatRange
from edgekiln.compiler.sweep.recipe_text import recipe_text, toml_value
from edgekiln.compiler.sweep.source import recipe_and_model
from edgekiln.compiler.sweep.space import (
    check_space,
    declared_space,
    default_space,
    options_of,
    with_values,
)
from edgekiln.models.tasks.metric import ACCURACY, Metric
from edgekiln.runtime.errors import ConfigError

STAGES = ("distill", "prune", "export", "quantize")
KNOWN_OPTIONS = options_of(STAGES, CHAIN)
KNOWN = {
    "accuracy": Measure(name="accuracy", metric=ACCURACY, needs="score"),
    "RMSE": Measure(
        name="RMSE", metric=Metric(name="RMSE", unit="K", better="lower"), needs="score"
    ),
    **COSTS,
}


def names(recipe: Recipe, stages: tuple[str, ...] = STAGES) -> list[str]:
    return [each.name for each in default_space(recipe, stages, CHAIN)]


def test_without_a_word_the_usual_options_of_the_stages_that_run_are_tried() -> None:
    found = names(Recipe())
    assert "distill.learning-rate" in found
    assert "prune.importance" in found
    assert "quantize.calibration" in found
    assert names(Recipe(), ("quantize",)) == ["quantize.calibration"]
    check_space(default_space(Recipe(), STAGES, CHAIN), Recipe(), CHAIN)


def test_how_a_teacher_is_weighed_is_tried_where_there_is_one() -> None:
    assert "distill.alpha" not in names(Recipe())
    assert "distill.alpha" in names(Recipe(options={"distill": {"teacher": ("resnet20",)}}))


def test_a_recipes_own_rate_is_the_middle_of_what_is_tried() -> None:
    space = default_space(Recipe(options={"prune": {"learning_rate": 0.5}}), STAGES, CHAIN)
    (rate,) = (each.range for each in space if each.name == "prune.learning-rate")
    assert rate == FloatRange(low=0.1, high=2.5, log=True)


def test_the_command_line_goes_before_the_recipe() -> None:
    table = {"distill.alpha": [0.1, 0.2], "quantize": {"samples": [64, 128]}}
    space = declared_space(table, ("distill.alpha=0..1",), KNOWN_OPTIONS, CHAIN)
    assert {each.name: str(each.range) for each in space} == {
        "distill.alpha": "0..1",
        "quantize.samples": "64, 128",
    }


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("distil.alpha=0..1", "no such option", "did you mean distill.alpha?"),
        ("distill.alhpa=0..1", "distill has no option 'alhpa'", "did you mean alpha?"),
        ("compile.batch=1,2", "this build has no stage compile", "stages of this build are"),
        ("distill.seed=1,2", "another seed is another question", "sweep again"),
        ("distill.alpha", "it has no range", "OPTION=RANGE"),
    ],
)
def test_an_option_that_cannot_be_tried_is_refused(line: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"^--param distil.*{message}|compile") as caught:
        declared_space({}, (line,), KNOWN_OPTIONS, CHAIN)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_stage_refuses_a_range_that_leads_beyond_what_it_takes() -> None:
    space = declared_space({}, ("distill.alpha=0.5..3",), KNOWN_OPTIONS, CHAIN)
    with pytest.raises(ConfigError, match=r"^distill\.alpha: distill: alpha = 3\.0$"):
        check_space(space, Recipe(), CHAIN)


def test_an_option_may_need_another_one_that_is_tried() -> None:
    lines = ("distill.distillation=logits,dist", "distill.teacher=resnet20,resnet56")
    check_space(declared_space({}, lines, KNOWN_OPTIONS, CHAIN), Recipe(), CHAIN)
    with pytest.raises(ConfigError, match=r"^distill\.distillation: .*= dist$"):
        check_space(declared_space({}, lines[:1], KNOWN_OPTIONS, CHAIN), Recipe(), CHAIN)


def test_nothing_to_try_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nothing to try"):
        check_space((), Recipe(), CHAIN)


@pytest.mark.parametrize(
    ("text", "bound", "good", "bad"),
    [
        ("latency<5ms", 5e-3, 4e-3, 5e-3),
        ("latency <= 20 us", 20e-6, 20e-6, 21e-6),
        ("bytes<64KiB", 65536, 65535, 65536),
        ("macs<1.5M", 1.5e6, 1e6, 2e6),
        ("accuracy>=90%", 0.9, 0.9, 0.89),
        ("accuracy>90", 0.9, 0.91, 0.9),
        ("accuracy>0.9", 0.9, 0.91, 0.9),
        ("RMSE<2.5", 2.5, 2.0, 2.5),
        ("RMSE<2.5K", 2.5, 2.0, 2.5),
    ],
)
def test_a_limit_is_read_with_its_unit(text: str, bound: float, good: float, bad: float) -> None:
    limit = parse_limit(text, KNOWN)
    assert limit.bound == pytest.approx(bound)
    limit = MeasureLimit(measure=limit.measure, sign=limit.sign, bound=bound)
    assert limit.holds(good)
    assert not limit.holds(bad)
    assert limit.excess(good) <= 0 < limit.excess(bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency", "is no limit"),
        ("latency<5", "it has no unit"),
        ("latency<5kB", "no unit 'kB'"),
        ("speed<5", "speed: nothing is measured by this name"),
        ("latency<1.2.3ms", "is no limit"),
        ("latency<.ms", "is no limit"),
        ("latency<1e999ms", "nothing is as much"),
        ("accuracy>=101", "nothing is as much"),
        ("latency<-5us", "nothing is as little"),
        ("bytes<=-1B", "nothing is as little"),
        ("accuracy<0", "nothing is as little"),
    ],
)
def test_a_limit_that_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_limit(text, KNOWN)


def test_a_recipe_as_text_is_the_same_recipe() -> None:
    table = {
        "data": "digits",
        "seed": 7,
        "skip": ["prune"],
        "state": ["h0=hn"],
        "distill": {"learning-rate": 1.5e-05, "epochs": 3, "teacher": ["resnet20"]},
        "quantize": {"calibration": "mse", "exclude": ["a*", 'b"\\']},
    }
    recipe = parse(table, "r.toml")
    text = recipe_text(recipe, "what it is\nand is for")
    assert text.startswith("# what it is\n# and is for\n")
    assert parse(tomllib.loads(text), "r.toml") == recipe


def test_a_recipe_for_a_task_as_text_is_the_same_recipe() -> None:
    recipe = parse({"data": "x.npz", "task": "regression?metric=mae"}, "r.toml")
    assert parse(tomllib.loads(recipe_text(recipe)), "r.toml") == recipe


@given(
    st.recursive(
        st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
)  # fmt: skip
def test_any_value_is_read_as_it_was_written(value: object) -> None:
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value


def test_a_trials_values_lie_over_the_recipe() -> None:
    base = Recipe(options={"distill": {"epochs": 5, "alpha": 0.1}})
    space = declared_space({}, ("distill.alpha=0..1",), KNOWN_OPTIONS, CHAIN)
    changed = with_values(base, space, {"distill.alpha": 0.3})
    assert changed.options == {"distill": {"epochs": 5, "alpha": 0.3}}
    assert base.options["distill"]["alpha"] == 0.1


def test_a_recipe_says_which_model_it_is_for(tmp_path: Path) -> None:
    named = tmp_path / "mine.toml"
    named.write_text('[sweep]\nmodel = "nets:tiny"\n')
    assert recipe_and_model(str(named), None, None)[1] == "nets:tiny"
    assert recipe_and_model(str(named), None, "lenet5")[1] == "lenet5"
    zoo = tmp_path / "resnet8.toml"
    zoo.write_text("seed = 3\n")
    assert recipe_and_model(str(zoo), None, None) == (Recipe(seed=3), "resnet8")
    zoo.rename(tmp_path / "other.toml")
    with pytest.raises(ConfigError, match=r"other\.toml: for which model\?"):
        recipe_and_model(str(tmp_path / "other.toml"), None, None)


def test_a_build_leaves_the_section_of_a_sweep_aside() -> None:
    recipe = parse({"sweep": {"distill.alpha": [0.1, 0.2]}}, "r.toml")
    assert recipe.sweep == {"distill.alpha": [0.1, 0.2]}
    assert recipe.options == {}
