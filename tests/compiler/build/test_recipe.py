"""Recipes: typed by the stages' fields, and strict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from edgekiln.compiler.build import recipe
from edgekiln.compiler.build.recipe import Recipe, load, override, stage_class, stage_options
from edgekiln.compiler.build.stage_table import SKIPPABLE, STAGES
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.runtime.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    name: ClassVar[str] = "distill"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".pt"

    epochs: int = field(default=10, metadata={"help": "Passes over the data."})
    learning_rate: float = 0.1
    nesterov: bool = False
    optimizer: Literal["sgd", "adamw"] = "sgd"
    teacher: str | None = None
    keep: tuple[str, ...] = ()
    data: str = ""
    steps: tuple[int, ...] = field(default=(), metadata={"option": False})
    seed: int = 0

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _only_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "stage_class", lambda _name: Train)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fast.toml"
    path.write_text(text)
    return path


def test_a_recipe_sets_fields_by_their_kebab_case_names(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        data = "digits"
        seed = 7
        skip = ["prune"]
        [distill]
        epochs = 3
        learning-rate = 1
        nesterov = true
        optimizer = "adamw"
        teacher = "resnet56"
        keep = ["head", "stem"]
        """,
    )
    read = load(path)
    assert (read.data, read.seed, read.skip) == ("digits", 7, ("prune",))
    assert read.stage(Train, {"data": read.data, "seed": read.seed}, {}) == Train(
        epochs=3,
        learning_rate=1.0,
        nesterov=True,
        optimizer="adamw",
        teacher="resnet56",
        keep=("head", "stem"),
        data="digits",
        seed=7,
    )


def test_what_suits_the_build_yields_to_the_recipe() -> None:
    read = Recipe(options={"distill": {"epochs": 3}})
    made = read.stage(Train, {"epochs": 99, "data": "digits", "no_such_field": 1}, {})
    assert made == Train(epochs=3, data="digits")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[distil]\n", "fast.toml: unknown section or key 'distil'", "did you mean distill?"),
        (
            "[distill]\nepoch = 3\n",
            "fast.toml: [distill]: unknown key 'epoch'",
            "did you mean epochs?",
        ),
        (
            "[distill]\nzzz = 3\n",
            "fast.toml: [distill]: unknown key 'zzz'",
            "keys are: data, epochs, keep, learning-rate, nesterov, optimizer, seed, teacher",
        ),
        (
            "[distill]\nepochs = 2.5\n",
            "fast.toml: [distill]: epochs must be a whole number, found 2.5",
            "",
        ),
        (
            "[distill]\nepochs = true\n",
            "fast.toml: [distill]: epochs must be a whole number, found true",
            "",
        ),
        (
            '[distill]\nlearning-rate = "fast"\n',
            "fast.toml: [distill]: learning-rate must be a number, found 'fast'",
            "",
        ),
        (
            '[distill]\noptimizer = "adam"\n',
            "fast.toml: [distill]: optimizer must be one of sgd, adamw, found 'adam'",
            "",
        ),
        (
            "[distill]\nkeep = [1]\n",
            "fast.toml: [distill]: keep[0] must be a string, found 1",
            "",
        ),
        ("distill = 3\n", "fast.toml: distill must be a section", "write [distill]"),
        ("seed = 'x'\n", "fast.toml: seed must be a whole number, found 'x'", ""),
        (
            "skip = ['export']\n",
            "fast.toml: cannot skip 'export'",
            f"can be skipped: {', '.join(SKIPPABLE)}",
        ),
    ],
)
def test_a_mistake_is_named_with_file_key_and_a_suggestion(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, text))
    assert (error.value.message, error.value.hint) == (message, hint)
    assert error.value.exit_code == 2


def test_a_field_that_the_build_gives_is_not_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'steps'"):
        load(written(tmp_path, "[distill]\nsteps = [1]\n"))


def test_files_that_are_no_recipes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such recipe file: .*fast\.toml"):
        load(tmp_path / "fast.toml")
    with pytest.raises(ConfigError, match=r"fast\.toml: Invalid value"):
        load(written(tmp_path, "seed = "))


def test_the_command_line_wins_over_every_section() -> None:
    read = Recipe(data="a", seed=1, options={"distill": {"data": "b", "seed": 2, "epochs": 3}})
    changed = override(read, data="c", seed=None)
    assert (changed.data, changed.seed) == ("c", 1)
    assert changed.options == {"distill": {"seed": 2, "epochs": 3}}


def test_options_describe_the_fields_a_user_may_set() -> None:
    options = {option.key: option for option in stage_options(Train)}
    assert "steps" not in options
    assert (options["epochs"].default, options["epochs"].help) == (10, "Passes over the data.")
    assert options["learning-rate"].field == "learning_rate"


def test_every_stage_of_the_chain_describes_every_option() -> None:
    assert STAGES
    for name in STAGES:
        cls = stage_class(name)
        assert cls.name == name
        undescribed = [option.key for option in stage_options(cls) if not option.help]
        assert undescribed == []
