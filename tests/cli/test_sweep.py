"""`edgekiln sweep` as a user runs it, on a real network and real data."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from edgekiln.compiler.build import driver, recipe
from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.documents.progress import progress
from edgekiln.compiler.pipeline.store import Store
from edgekiln.targets import profile
from tests.cli.conftest import Cli

RECIPE = """
data = "digits"
skip = ["prune"]
[distill]
epochs = 2
shift = 0
[sweep]
model = "swept_nets:tiny"
"quantize.calibration" = ["minmax", "mse"]
"""


NETS = """
from torch import nn


def tiny(classes: int = 10, width: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 5, stride=4, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * width, classes),
    )
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe and the network that it is for, in the directory where the command runs."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "swept_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "swept_nets", raising=False)


def test_the_best_recipe_is_written_and_builds_what_was_judged(cli: Cli, tmp_path: Path) -> None:
    done = cli("sweep", "tiny.toml", "--trials", 5, "--where", "sqnr>1")
    assert done.exit_code == 0, done.output
    assert "2 trials: 2 done, no other values were left of the 5 asked for" in done.stdout
    assert "on the test split: accuracy" in done.stdout
    build = "edgekiln build swept_nets:tiny --recipe dist/tiny-best.toml --target host"
    assert build in done.stdout
    # The same command again finds all of it.
    again = cli("sweep", "tiny.toml", "--trials", 5, "--where", "sqnr>1", "--resume", "--json")
    result = json.loads(again.stdout)
    assert result["schema"] == "edgekiln.sweep/1"
    assert [row["state"] for row in result["trials"]] == ["done", "done"]
    assert result["test"][0]["n"] == 400
    assert Path(result["page"]).is_file()
    best = recipe.load(Path("dist/tiny-best.toml"))
    chosen = result["trials"][result["best"]]["options"]["quantize.calibration"]
    assert json.loads(chosen) == best.options["quantize"]["calibration"]
    request = driver.Request(
        model="swept_nets:tiny", targets=(profile.load("host"),), recipe=best, out=tmp_path
    )
    under_way = driver.Build(request, Store(), progress, CHAIN)
    artifact = under_way.start()
    for name in under_way.shared_stages(artifact):
        artifact = under_way.run_stage(name, artifact, None)
        assert artifact.cached, name
    assert artifact.kind == "onnx-int8"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--objective", "acuracy"), 2, "did you mean accuracy?"),
        (("--param", "distil.alpha=0..1"), 2, "did you mean distill.alpha?"),
        (("--param", "distill.alpha=1..0"), 2, "the range from 1 to 0 is empty"),
        (("--storage", "sqlite:////no/such/x.db"), 9, "there is no directory /no/such"),
        (("--resume",), 2, "--resume: no study 'tiny'"),
        (("--model", "tiny", "--recipe", "other.toml"), 2, "tiny.toml is a recipe"),
        (("--trials", 0), 2, "Invalid value for '--trials'"),
    ],
)
def test_a_wrong_option_is_one_clear_error(
    cli: Cli, tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    done = cli("sweep", "tiny.toml", *options)
    assert done.exit_code == code, done.output
    assert message in done.output
    assert not (tmp_path / "dist").exists()
    assert "Traceback" not in done.output
