"""The tutorial's three jobs, as a newcomer does them, on few samples: from data to a bundle."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekiln.runtime.program import load
from tests.cli.conftest import Cli, cli
from tests.source_tree import ROOT

__all__ = ["cli"]  # a fixture

EXAMPLES = ROOT / "examples" / "tasks"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The examples where the tool is started, with trainings that are short."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    for recipe in tmp_path.glob("*.toml"):
        lines = recipe.read_text().splitlines()
        short = [
            f"{line.partition('=')[0]}= 2" if line.partition(" =")[0].endswith("epochs") else line
            for line in lines
        ]
        recipe.write_text("\n".join(short) + "\n")
    yield tmp_path
    for name in ("own_dataset", "diabetes", "two_heads"):
        sys.modules.pop(name, None)


def build(cli: Cli, name: str, *options: object) -> list[dict[str, dict[str, Any]]]:
    """The scores of each stage, by label, in the order of the stages."""
    fixed = ("--recipe", f"{name}.toml", "--bench-seconds", 0, "--json")
    result = cli("build", f"{name}:net", *fixed, *options)
    assert result.exit_code == 0, result.stderr
    steps = json.loads(result.stdout)["steps"]
    return [
        {
            f"{score['head']} {score['metric']}".strip(): score
            for score in (step["score"], *step["further_scores"])
        }
        for step in steps
    ]


@pytest.mark.usefixtures("here")
def test_a_dataset_and_a_loss_of_ones_own_become_a_program(cli: Cli) -> None:
    trained, *_, program = build(cli, "own_dataset", "--max-drop", 3)
    assert trained["accuracy"]["value"] > 0.8
    assert program["accuracy"]["value"] > 0.8


@pytest.mark.usefixtures("here")
def test_a_table_is_told_and_judged_by_its_error(cli: Cli, tmp_path: Path) -> None:
    data = "diabetes.csv?target=progression&test=0.25&scale=0.01"
    trained, *_, program = build(cli, "diabetes", "--data", data, "--max-drop", "MAE=10")
    assert trained.keys() == {"MAE"}
    assert (trained["MAE"]["better"], trained["MAE"]["share"]) == ("lower", False)
    assert program["MAE"]["value"] < 1.1 * trained["MAE"]["value"] < 90
    assert load(tmp_path / "dist/net-host.ekb").inputs[0].shape == (1, 10)


@pytest.mark.usefixtures("here")
def test_two_heads_have_a_metric_and_a_limit_each(cli: Cli, tmp_path: Path) -> None:
    data = ("--data", "two_heads:samples?limit=700")
    trained, pruned, *_, program = build(
        cli, "two_heads", *data, "--max-drop", "digit=90", "--max-drop", "ink=2000"
    )
    assert trained.keys() == pruned.keys() == program.keys() == {"digit accuracy", "ink RMSE"}
    assert trained["digit accuracy"]["value"] > 0.5
    assert trained["ink RMSE"]["better"] == "lower"
    found = load(tmp_path / "dist/net-host.ekb")
    assert [each.name for each in found.outputs] == ["digit", "ink"]
    strict = ("--max-drop", "ink=-1")
    refused = cli("build", "two_heads:net", "--recipe", "two_heads.toml", *strict)
    assert refused.exit_code == 2
    assert "-1.0 is not in the range" in refused.stderr
    unknown = cli(
        "build", "two_heads:net", "--recipe", "two_heads.toml", *data, "--max-drop", "inc=1",
        "--bench-seconds", 0,
    )  # fmt: skip
    assert "--max-drop inc: no task or metric has this name" in unknown.stderr
    assert "did you mean ink?" in unknown.stderr
